#!/usr/bin/env python3
"""utter serve --wyoming, as Home Assistant's integration uses it, with the "wyoming" package from PyPI.

usage: test_wyoming.py UTTER
Where this Python has no such package, it is fetched into the build folder; skipped (exit code 77) where that fails."""

import array
import asyncio
import os
import socket
import subprocess
import sys
import tempfile
import time

try:
    from wyoming.audio import AudioChunk, AudioStart, AudioStop
    from wyoming.client import AsyncTcpClient
    from wyoming.error import Error
    from wyoming.info import Describe, Info
    from wyoming.ping import Ping, Pong
    from wyoming.tts import (Synthesize, SynthesizeChunk, SynthesizeStart, SynthesizeStop, SynthesizeStopped,
                             SynthesizeVoice)
except ImportError:
    place = os.path.join(os.environ.get("UTTER_BUILD", tempfile.gettempdir()), "venv-wyoming")
    python = os.path.join(place, "bin", "python")
    try:
        if os.path.abspath(sys.executable) == os.path.abspath(python):
            raise OSError("it is incomplete")
        if not os.path.exists(python) or subprocess.run([python, "-c", "import wyoming"], capture_output=True).returncode:
            subprocess.run([sys.executable, "-m", "venv", place], check=True, capture_output=True, timeout=120)
            subprocess.run([python, "-m", "pip", "install", "--quiet", "--retries", "1", "--timeout", "15", "wyoming"],
                           check=True, capture_output=True, timeout=120)
    except (OSError, subprocess.SubprocessError) as e:
        print("skipped: the Python package wyoming is not there and could not be fetched (pip install wyoming):", e)
        sys.exit(77)
    os.execv(python, [python, *sys.argv])

PATIENCE_S = 60


def fail(sentence):
    raise AssertionError(sentence)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


async def read(client):
    return await asyncio.wait_for(client.read_event(), PATIENCE_S)


async def describe(port):
    async with AsyncTcpClient("127.0.0.1", port) as client:
        await client.write_event(Describe().event())
        event = await read(client)
        if not Info.is_type(event.type):
            fail(f"{event.type} came for describe")
        return Info.from_event(event)


def check_sound(start, pcm, least_s, most_s):
    samples = array.array("h", pcm)
    seconds = len(samples) / start.rate
    loudest = max(map(abs, samples), default=0)
    if (start.rate, start.width, start.channels) != (24000, 2, 1) or not least_s < seconds < most_s or loudest < 1000:
        fail(f"{start}: {seconds:.2f} s, loudest {loudest}")


async def test_info(port):
    info = await describe(port)
    program = next(p for p in info.tts if p.installed)
    voices = {v.name: v for v in program.voices if v.installed}
    if not program.supports_synthesize_streaming or not {"slt", "sam"} <= set(voices):
        fail(f"{program}")
    if voices["slt"].languages != ["en-US"] or not voices["slt"].description.startswith("slt"):
        fail(f"{voices['slt']}")


async def test_synthesize(port):
    """As Home Assistant asks without streaming: a connection for each text, all sound up to audio-stop."""
    async with AsyncTcpClient("127.0.0.1", port) as client:
        await client.write_event(Synthesize(text="We went to the beach.", voice=SynthesizeVoice(name="sam")).event())
        start, pcm = None, b""
        while not AudioStop.is_type((event := await read(client)).type):
            if AudioStart.is_type(event.type):
                start = AudioStart.from_event(event)
            elif AudioChunk.is_type(event.type):
                pcm += AudioChunk.from_event(event).audio
            else:
                fail(f"{event.type} came")
        check_sound(start, pcm, 0.6, 4)


async def test_streaming(port):
    """As Home Assistant asks while a language model writes: text and sound at the same time."""
    pieces = ["The old man ", "walked slowly down ", "the quiet street. ", "Nobody knew ", "him there any more. ", "He ",
              "went home."]
    heard_before_the_end = asyncio.Event()

    async def write(client):
        await client.write_event(SynthesizeStart(voice=SynthesizeVoice(name="slt")).event())
        for piece in pieces:
            await client.write_event(SynthesizeChunk(text=piece).event())
        await asyncio.wait_for(heard_before_the_end.wait(), PATIENCE_S)  # the first sentences do not wait for the last
        await client.write_event(Synthesize(text="".join(pieces)).event())
        await client.write_event(SynthesizeStop().event())

    async with AsyncTcpClient("127.0.0.1", port) as client:
        writing = asyncio.create_task(write(client))
        starts, stops, pcm = [], 0, b""
        while not SynthesizeStopped.is_type((event := await read(client)).type):
            if AudioStart.is_type(event.type):
                starts.append(AudioStart.from_event(event))
            elif AudioChunk.is_type(event.type):
                pcm += AudioChunk.from_event(event).audio
                heard_before_the_end.set()
            elif AudioStop.is_type(event.type):
                stops += 1
            else:
                fail(f"{event.type} came")
        await writing
    if len(starts) != 1 or stops != 1:
        fail(f"{len(starts)} starts, {stops} stops")
    check_sound(starts[0], pcm, 3, 12)  # spoken once, not twice


async def test_error(port):
    async with AsyncTcpClient("127.0.0.1", port) as client:
        await client.write_event(Synthesize(text="Hello.", voice=SynthesizeVoice(name="nobody")).event())
        while not Error.is_type((event := await read(client)).type):
            if not AudioStart.is_type(event.type):
                fail(f"{event.type} came")
        error = Error.from_event(event)
        if "nobody" not in error.text or error.code != "invalid":
            fail(f"{error}")
        if await read(client) is not None:
            fail("the connection goes on after an error")


async def test_ping(port):
    async with AsyncTcpClient("127.0.0.1", port) as client:
        await client.write_event(Ping(text="x").event())
        if Pong.from_event(await read(client)).text != "x":
            fail("no pong")


async def wait_until_ready(process, port):
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            return await describe(port)
        except OSError as e:
            if process.poll() is not None or time.monotonic() > end:
                fail(f"utter serve --wyoming does not listen: {e}")
            await asyncio.sleep(0.05)


async def main():
    port = free_port()
    process = subprocess.Popen([os.path.abspath(sys.argv[1]), "serve", "--port", str(free_port()), "--wyoming-address",
                                f"127.0.0.1:{port}", "--model", "built-in", "--device", "cpu"], stdin=subprocess.DEVNULL)
    n_failed = 0
    try:
        await wait_until_ready(process, port)
        for test in (test_info, test_synthesize, test_streaming, test_error, test_ping):
            try:
                await test(port)
                print("ok     ", test.__name__, flush=True)
            except AssertionError as e:
                n_failed += 1
                print("FAILED ", test.__name__, "-", e, flush=True)
    finally:
        process.terminate()
        if process.wait(PATIENCE_S) != 0:
            fail(f"utter serve ended with {process.returncode}")
    return 1 if n_failed else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
