"""utter serve asked by OpenAI's own Python package: speech whole and streamed, events, lists, errors, retries.

usage: test_serve_openai.py UTTER    (exit code 77: what it needs is not there, which it says)
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
import venv


def skip(why):
    print("skipped:", why)
    sys.exit(77)


def find_openai():
    """The package, or an environment of its own beside the build with the package in it."""
    try:
        import openai  # noqa: F401
        return
    except ImportError:
        pass
    if os.environ.get("UTTER_IN_VENV"):
        skip("the Python package openai cannot be imported")
    place = os.path.join(os.environ.get("UTTER_BUILD", tempfile.gettempdir()), "venv-openai")
    python = os.path.join(place, "bin", "python3")
    try:
        if not os.path.exists(python):
            venv.create(place, with_pip=True)
        has = subprocess.run([python, "-c", "import openai"], capture_output=True).returncode == 0
        if not has:
            subprocess.run([python, "-m", "pip", "install", "--quiet", "--retries", "1", "--timeout", "15", "openai"], check=True,
                           capture_output=True, timeout=240)
    except (OSError, subprocess.SubprocessError) as error:
        skip("the Python package openai is not there and could not be fetched (pip install openai): %s" % error)
    os.environ["UTTER_IN_VENV"] = "1"
    os.execv(python, [python] + sys.argv)


find_openai()
import openai  # noqa: E402

N_TESTS = 0


def check(what, fine, shown=""):
    global N_TESTS
    N_TESTS += 1
    if not fine:
        print("FAILED:", what, shown)
        sys.exit(1)
    print("ok:", what)


class Server:
    def __init__(self, utter, *options):
        self.log = tempfile.NamedTemporaryFile("w+", suffix=".log")
        self.process = subprocess.Popen([utter, "serve", "--port", "0", *options], stderr=self.log)
        self.url = None
        until = time.monotonic() + 60
        while time.monotonic() < until and self.process.poll() is None:
            said = open(self.log.name).read()
            found = re.search(r"http://127\.0\.0\.1:\d+", said)
            if found and "ready after" in said:
                self.url = found.group(0)
                break
            time.sleep(0.02)
        check("the server starts", self.url is not None, open(self.log.name).read())

    def client(self, key="none", **more):
        return openai.OpenAI(base_url=self.url + "/v1", api_key=key, max_retries=more.pop("max_retries", 0), **more)

    def stop(self):
        self.process.terminate()
        check("the server stops", self.process.wait(60) == 0)


def error_of(call):
    try:
        call()
    except openai.APIError as error:
        return error
    return None


def main(utter):
    server = Server(utter)
    client = server.client()
    speech = client.audio.speech

    for name, begin in {"mp3": b"\xff", "opus": b"OggS", "flac": b"fLaC", "wav": b"RIFF", "pcm": b""}.items():
        answer = speech.create(model="tts-1", voice="alloy", input="Hello there.", response_format=name)
        check("whole, as " + name, answer.content.startswith(begin) and len(answer.content) > 2000, len(answer.content))

    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "hello.mp3")
        with speech.with_streaming_response.create(model="gpt-4o-mini-tts", voice="coral", input="Hello there.",
                                                   instructions="Speak in a happy voice.", speed=1.25) as answer:
            check("the content's type", answer.headers["content-type"] == "audio/mpeg", answer.headers)
            check("the request's id", bool(answer.headers.get("x-request-id")))
            answer.stream_to_file(path)
        check("streamed to a file", os.path.getsize(path) > 2000)

    with speech.with_streaming_response.create(model="tts-1-hd", voice={"id": "slt"}, input="One here. And two there. " * 8,
                                               response_format="pcm") as answer:
        begun = time.monotonic()
        first, n = None, 0
        for block in answer.iter_bytes(4096):
            first = first or time.monotonic() - begun
            n += len(block)
        check("sound comes before all of it is made", first < (time.monotonic() - begun) * 0.7, first)
        check("and all of it comes", n > 24000 * 2 * 8, n)

    with speech.with_streaming_response.create(model="tts-1", voice="alloy", input="Hello there.", response_format="pcm",
                                               stream_format="sse", extra_body={"timestamps": True}) as answer:
        events = [json.loads(line[6:]) for line in answer.iter_lines() if line.startswith("data: ")]
    kinds = [event["type"] for event in events]
    check("events", kinds[0] == "speech.audio.delta" and kinds[-1] == "speech.audio.done", kinds)
    check("a sentence's times", "speech.audio.sentence" in kinds, kinds)
    usage = events[-1]["usage"]
    check("usage", usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"] > 0, usage)

    names = [model.id for model in client.models.list()]
    check("models", {"tts-1", "tts-1-hd", "gpt-4o-mini-tts"} <= set(names), names)
    check("a model", client.models.retrieve("tts-1").id == "tts-1")

    error = error_of(lambda: speech.create(model="tts-1", voice="nobody", input="Hello."))
    check("an unknown voice", isinstance(error, openai.BadRequestError) and error.param == "voice" and "slt" in error.message, error)
    error = error_of(lambda: speech.create(model="gpt-9", voice="alloy", input="Hello."))
    check("an unknown model", isinstance(error, openai.NotFoundError) and error.code == "model_not_found", error)
    error = error_of(lambda: speech.create(model="tts-1", voice="alloy", input="a" * 5000))
    check("too long a text", isinstance(error, openai.BadRequestError) and error.param == "input", error)
    error = error_of(lambda: speech.create(model="tts-1", voice="alloy", input="Hello.", speed=9))
    check("too fast", isinstance(error, openai.BadRequestError) and error.param == "speed", error)
    server.stop()

    made = subprocess.run([utter, "serve", "--new-key", "test"], capture_output=True, text=True, check=True)
    with tempfile.NamedTemporaryFile("w") as keys:
        keys.write(made.stdout.strip() + " rate=60\n")
        keys.flush()
        server = Server(utter, "--keys", keys.name)
        key = re.search(r"sk-utter-\w+", made.stderr).group(0)
        error = error_of(lambda: server.client("sk-wrong").models.list())
        check("a wrong key", isinstance(error, openai.AuthenticationError) and error.code == "invalid_api_key", error)
        client = server.client(key)
        check("the right key", len(list(client.models.list())) > 0)
        error = None
        for _ in range(30):
            error = error or error_of(lambda: client.models.list())
        check("too many requests", isinstance(error, openai.RateLimitError), error)
        patient = server.client(key, max_retries=4)
        check("who comes again is served", len(list(patient.models.list())) > 0)
        server.stop()
    print("%d ok, with openai %s" % (N_TESTS, openai.__version__))


main(sys.argv[1])
