#!/usr/bin/env python3
"""The page of utter serve in headless Chromium: what a person does there, with mouse, keyboard and screen reader.

usage: test_web.py UTTER
Skipped (exit code 77) where Chromium is missing. Chromium is driven over its debugging pipe; nothing but Python's
standard library is used."""

import base64
import itertools
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import wave

PATIENCE_S = 60


def fail(sentence):
    raise AssertionError(sentence)


class Browser:
    """Chromium, and its debugging protocol: JSON messages, each ended by a NUL."""

    def __init__(self, program, folder):
        to_us, to_it = os.pipe(), os.pipe()
        command = (f'exec "$0" --headless --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run '
                   f'--disable-background-networking --disable-component-update --user-data-dir="{folder}" '
                   f'--remote-debugging-pipe about:blank 3<&{to_it[0]} 4>&{to_us[1]}')
        self.process = subprocess.Popen(["sh", "-c", command, program], pass_fds=(to_it[0], to_us[1]),
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        os.close(to_it[0])
        os.close(to_us[1])
        self.out, self.fd = to_it[1], to_us[0]
        self.buffer, self.events, self.ids = b"", [], itertools.count(1)

    def message(self, patience_s):
        end = time.monotonic() + patience_s
        while b"\0" not in self.buffer:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.fd], [], [], left)[0]:
                return None
            got = os.read(self.fd, 1 << 20)
            if not got:
                fail("Chromium has ended")
            self.buffer += got
        text, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(text)

    def ask(self, method, session=None, **params):
        number = next(self.ids)
        request = {"id": number, "method": method, "params": params}
        if session:
            request["sessionId"] = session
        os.write(self.out, json.dumps(request).encode() + b"\0")
        while True:
            answer = self.message(PATIENCE_S) or fail(f"Chromium does not answer {method}")
            if answer.get("id") == number:
                return answer.get("result") if "error" not in answer else fail(f"{method}: {answer['error']}")
            self.events.append(answer)

    def close(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        os.close(self.out)
        os.close(self.fd)


class Page:
    """A tab, with what it asked for and complained of."""

    def __init__(self, browser, url, downloads):
        self.browser, self.asked, self.complaints = browser, [], []
        target = browser.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = browser.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        browser.ask("Browser.setDownloadBehavior", behavior="allow", downloadPath=downloads)
        for domain in ("Page", "Runtime", "Network", "Log", "Accessibility"):
            self.ask(domain + ".enable")
        self.ask("Page.navigate", url=url)

    def ask(self, method, **params):
        result = self.browser.ask(method, self.session, **params)
        self.look()
        return result

    def look(self):
        for e in self.browser.events:
            params = e.get("params", {})
            if e.get("method") == "Network.requestWillBeSent":
                self.asked.append(params["request"]["url"])
            if e.get("method") == "Log.entryAdded" and params["entry"]["level"] == "error":
                self.complaints.append(params["entry"]["text"] + " " + params["entry"].get("url", ""))
            if e.get("method") == "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(params["exceptionDetails"])[:500])
        self.browser.events.clear()

    def eval(self, script, gesture=False):
        result = self.ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True,
                          userGesture=gesture)
        if "exceptionDetails" in result:
            fail(f"{script}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def until(self, script, what=None):
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            value = self.eval(f"(() => {{ try {{ return {script} }} catch {{ return false }} }})()")  # it may not be loaded
            if value:
                return value
            time.sleep(0.05)
        fail(f"waited in vain for {what or script}; state {self.eval('document.body.dataset.state')}, "
             f"error {self.eval('document.getElementById(`error`).textContent')!r}, complaints {self.complaints}")

    def key(self, key, ctrl=False, code=None, text=None):
        number = {"Enter": 13, "Escape": 27, "Tab": 9, "ArrowRight": 39, "Home": 36}.get(key, 0)
        press = {"key": key, "code": code or key, "windowsVirtualKeyCode": number, "modifiers": 2 if ctrl else 0}
        if text:
            press["text"] = text
        self.ask("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", **press)
        self.ask("Input.dispatchKeyEvent", type="keyUp", **press)

    def write(self, text):
        """Into the text field, as a person types."""
        self.eval("document.getElementById('text').focus(); document.getElementById('text').select()")
        if text:
            self.ask("Input.insertText", text=text)
        else:
            self.ask("Input.dispatchKeyEvent", type="rawKeyDown", key="Delete", code="Delete", windowsVirtualKeyCode=46)

    def click(self, name):
        self.eval(f"document.getElementById('{name}').scrollIntoView({{block: 'center'}})")
        box = self.eval(f"(r => [r.x + r.width / 2, r.y + r.height / 2])(document.getElementById('{name}')"
                        ".getBoundingClientRect())")
        for kind in ("mousePressed", "mouseReleased"):
            self.ask("Input.dispatchMouseEvent", type=kind, x=box[0], y=box[1], button="left", clickCount=1)

    def state(self):
        return self.eval("document.body.dataset.state")

    def shown(self, name):
        return self.eval(f"!document.getElementById('{name}').hidden")

    def text(self, name):
        return self.eval(f"document.getElementById('{name}').textContent")


class Server:
    def __init__(self, utter, folder, *options):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/"
        self.log = open(os.path.join(folder, f"serve-{self.port}.log"), "w+")
        self.process = subprocess.Popen([utter, "serve", "--port", str(self.port), "--model", "built-in", "--device", "cpu",
                                         *options], stdout=self.log, stderr=self.log, stdin=subprocess.DEVNULL)
        end = time.monotonic() + PATIENCE_S
        while True:
            try:
                return urllib.request.urlopen(self.url + "ready").close()
            except (urllib.error.URLError, ConnectionError) as e:
                if self.process.poll() is not None or time.monotonic() > end:
                    self.log.seek(0)
                    fail(f"utter serve is not ready: {e}\n{self.log.read()}")
                time.sleep(0.05)

    def close(self):
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            fail("utter serve did not end")
        finally:
            self.log.close()
        if self.process.returncode != 0:
            fail(f"utter serve ended with {self.process.returncode}")


# ---- what is tried ----

LONG = "The old man walked slowly down the quiet street, and nobody knew him there any more. " * 20


def test_speaks_while_it_is_made(page, server, downloads):
    page.until("document.querySelectorAll('#voice option').length >= 2", "the list of voices")
    if "on" not in page.text("engine"):
        fail(f"the engine is described as {page.text('engine')!r}")
    page.write("We went to the beach. The water was cold, and nobody wanted to swim.")
    page.eval("document.getElementById('voice').value = 'sam'")
    page.key("Enter", ctrl=True)
    page.until("document.body.dataset.state === 'done'")
    if not re.match(r"First sound after \d+\.\d+ s\. \d+\.\d+ s of sound in ", page.text("status")):
        fail(f"the status is {page.text('status')!r}")
    first, duration = page.eval("[Number(document.body.dataset.first), current.sound.duration]")
    if not (first > 0 and 1.5 < duration < 10):
        fail(f"the first sound after {first} s, {duration} s of it")
    bars, painted = page.eval(
        "(c => [Number(c.dataset.bars), c.getContext('2d').getImageData(0, 0, c.width, c.height).data"
        ".reduce((n, v, i) => n + (i % 4 === 3 && v > 0), 0)])(document.getElementById('wave'))")
    if bars < 20 or painted < 200:
        fail(f"the waveform has {bars} bars and {painted} pixels")


def test_sound_comes_in_pieces(page, server, downloads):
    """It is played while it arrives: there are pieces long before the end, and time goes on in it."""
    page.write(LONG)
    page.click("speak")
    page.until("current && current.first !== null && document.body.dataset.state === 'speaking'")
    page.until("current.player.position > 0.2 && Number(document.getElementById('position').value) > 0.2", "playing")
    if page.eval("document.getElementById('stop').disabled"):
        fail("it cannot be stopped")
    page.key("Escape")
    page.until("document.body.dataset.state === 'stopped'")
    if not page.text("status").startswith("Stopped. "):
        fail(f"the status is {page.text('status')!r}")
    if page.eval("current.sound.n / current.sound.rate") > 80:
        fail("all of it came")
    page.until("document.getElementById('play').textContent === 'Play again' && document.getElementById('stop').disabled")
    n = page.eval("current.sound.n")
    time.sleep(0.3)
    if page.eval("current.sound.n") != n:
        fail("sound comes after it was stopped")


def test_download(page, server, downloads):
    page.write("Good morning, Anna!")
    page.click("speak")
    page.until("document.body.dataset.state === 'done'")
    name = page.eval("document.getElementById('download').download")
    if name != "good-morning-anna.wav":
        fail(f"the file is to be called {name!r}")
    page.click("download")
    path = os.path.join(downloads, name)
    end = time.monotonic() + PATIENCE_S
    while not os.path.exists(path):
        if time.monotonic() > end:
            fail(f"nothing was downloaded; there are {os.listdir(downloads)}")
        time.sleep(0.05)
    with wave.open(path) as w:
        seconds = w.getnframes() / w.getframerate()
        loudest = max(abs(v) for v in memoryview(w.readframes(w.getnframes())).cast("h"))
        if (w.getnchannels(), w.getsampwidth()) != (1, 2) or not 0.4 < seconds < 5 or loudest < 1000:
            fail(f"a WAV of {seconds} s, loudest {loudest}")
    if abs(seconds - page.eval("current.sound.duration")) > 0.001:
        fail("not all of it was downloaded")


def test_playing_again_and_seeking(page, server, downloads):
    page.until("document.getElementById('play').textContent === 'Play again'", "the end of playing")
    page.click("play")
    page.until("document.getElementById('play').textContent === 'Pause'")
    page.until("current.player.position > 0.1")
    page.click("play")
    page.until("document.getElementById('play').textContent === 'Play'")
    at = page.eval("current.player.position")
    time.sleep(0.2)
    if abs(page.eval("current.player.position") - at) > 0.05:
        fail("it goes on while it is paused")
    page.click("play")
    page.eval("document.getElementById('position').focus()")
    page.key("Home")
    page.until("document.getElementById('play').textContent === 'Play again'", "the end of playing")


def test_speed_by_keyboard(page, server, downloads):
    text = "We went to the beach, and the water was cold."
    durations = []
    for presses in (0, 10):
        page.write(text)
        page.eval("document.getElementById('speed').focus()")
        for _ in range(presses):
            page.key("ArrowRight")
        page.key("Enter", ctrl=True)
        page.until("document.body.dataset.state === 'done'")
        durations.append(page.eval("current.sound.duration"))
    if page.text("speed-shown") != "2×" or not 1.8 < durations[0] / durations[1] < 2.2:
        fail(f"at {page.text('speed-shown')}: {durations[1]} s, before {durations[0]} s")
    if page.eval("document.getElementById('speed').getAttribute('aria-valuetext')") != "2 times":
        fail("a screen reader is not told the speed")
    page.eval("document.getElementById('speed').value = 0; show_speed()")


def test_errors_are_the_servers(page, server, downloads):
    request = urllib.request.Request(server.url + "v1/audio/speech", data=b'{"model": "utter", "input": ""}',
                                     headers={"Content-Type": "application/json"})
    try:
        urllib.request.urlopen(request)
        fail("the server speaks an empty text")
    except urllib.error.HTTPError as e:
        sentence = json.load(e)["error"]["message"]
    page.write("")
    page.key("Enter", ctrl=True)
    page.until("document.body.dataset.state === 'error'")
    if page.text("error") != sentence or not page.shown("error"):
        fail(f"the page says {page.text('error')!r}, the server {sentence!r}")
    page.write("Yes.")
    page.key("Enter", ctrl=True)
    page.until("document.body.dataset.state === 'done'")
    if page.shown("error"):
        fail("the error is still shown")


def test_keyboard_path(page, server, downloads):
    page.eval("document.getElementById('text').focus()")
    order = ["text"]
    for _ in range(3):
        page.key("Tab", text="\t")
        order.append(page.eval("document.activeElement.id"))
    if order != ["text", "voice", "speed", "speak"]:
        fail(f"Tab goes {order}")
    page.eval("window.before = current, 0")
    page.key("Enter", text="\r")
    page.until("current !== window.before && document.body.dataset.state === 'done'")


def test_names_for_screen_readers(page, server, downloads):
    """What can be used has a name; what changes is announced."""
    named = {}
    for node in page.ask("Accessibility.getFullAXTree")["nodes"]:
        role, name = node.get("role", {}).get("value"), node.get("name", {}).get("value", "")
        if not node.get("ignored"):
            named.setdefault(role, []).append(name)
    for role, least in (("textbox", 1), ("combobox", 1), ("slider", 2), ("button", 3), ("link", 1), ("heading", 1)):
        names = named.get(role, [])
        if len(names) < least or not all(names):
            fail(f"{role}: {names}")
    if sorted(named["slider"]) != ["Position", "Speed"] or named["textbox"] != ["Text"] or named["combobox"] != ["Voice"]:
        fail(f"named {named}")
    if not named.get("status") or page.eval("document.documentElement.lang") != "en":
        fail(f"nothing is announced: {sorted(named)}")


def luminance(colour):
    """Of rgb(…), as WCAG defines it."""
    parts = [int(v) / 255 for v in re.findall(r"\d+", colour)[:3]]
    linear = [v / 12.92 if v <= 0.03928 else ((v + 0.055) / 1.055) ** 2.4 for v in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_dark_light_and_small(page, server, downloads):
    backs = []
    for scheme in ("light", "dark"):
        page.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        page.eval("document.getElementById('error').hidden = false")
        colours = page.eval(
            "['#text', '#speak', '#stop', '#status', '#error', '.hint', '#count', 'label'].map(s => {"
            "  let e = document.querySelector(s), ink = getComputedStyle(e).color, back = 'rgba(0, 0, 0, 0)';"
            "  for (; e && back === 'rgba(0, 0, 0, 0)'; e = e.parentElement) back = getComputedStyle(e).backgroundColor;"
            "  return [s, ink, back]; })")
        page.eval("document.getElementById('error').hidden = true")
        for what, ink, back in colours:
            a, b = sorted((luminance(ink), luminance(back)))
            if (b + 0.05) / (a + 0.05) < 4.5:
                fail(f"{scheme}: {what} is {ink} on {back}, a contrast of {(b + 0.05) / (a + 0.05):.1f}")
        backs.append(luminance(page.eval("getComputedStyle(document.body).backgroundColor")))
    if not (backs[0] > 0.7 and backs[1] < 0.1):
        fail(f"the page's back is {backs}")
    page.ask("Emulation.setEmulatedMedia", features=[])
    page.ask("Emulation.setDeviceMetricsOverride", width=320, height=640, deviceScaleFactor=2, mobile=True)
    if page.eval("document.documentElement.scrollWidth") > 320:
        fail("it is wider than a small screen")
    page.ask("Emulation.clearDeviceMetricsOverride")


def test_nothing_from_elsewhere(page, server, downloads):
    page.look()
    strangers = [u for u in page.asked if not u.startswith((server.url, "data:", "blob:" + server.url))]
    if strangers or not page.asked:
        fail(f"the page asked for {strangers}")
    # the one refusal that was provoked is a line in the browser's log too
    complaints = [c for c in page.complaints if "status of 400" not in c]
    if complaints:
        fail(f"the browser complains: {complaints}")
    with urllib.request.urlopen(server.url) as answer:
        text, policy = answer.read().decode(), answer.headers.get("Content-Security-Policy", "")
    if re.search(r"""(src|href)=["']?(https?:|//)""", text):
        fail("the page names something outside")
    if "default-src 'none'" not in policy or "script-src 'sha256-" not in policy or "unsafe" in policy:
        fail(f"its policy is {policy!r}")


def test_a_key_is_asked_for(browser, utter, folder, downloads):
    made = subprocess.run([utter, "serve", "--new-key", "anna"], capture_output=True, text=True, check=True)
    keys = os.path.join(folder, "keys")
    with open(keys, "w") as f:
        f.write(made.stdout)
    os.chmod(keys, 0o600)
    key = made.stderr.strip().splitlines()[-1]
    server = Server(utter, folder, "--keys", keys)
    try:
        page = Page(browser, server.url, downloads)
        page.until("!document.getElementById('key-form').hidden", "the field for the key")
        page.eval("document.getElementById('key').focus()")
        page.ask("Input.insertText", text="wrong")
        page.key("Enter", text="\r")
        page.until("!document.getElementById('key-form').hidden && document.getElementById('error').textContent")
        page.eval("document.getElementById('key').focus()")
        page.ask("Input.insertText", text=key)
        page.key("Enter", text="\r")
        page.until("document.querySelectorAll('#voice option').length >= 2", "the list of voices")
        page.key("Enter", ctrl=True)
        page.until("document.body.dataset.state === 'done'")
        kept = page.eval("[sessionStorage.length, localStorage.length, document.cookie, location.href]")
        if kept != [1, 0, "", server.url]:
            fail(f"the key is kept in {kept}")
    finally:
        server.close()


def main():
    utter = os.path.abspath(sys.argv[1])
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not program:
        print("skipped: Chromium is not installed")
        return 77
    n_failed = 0
    with tempfile.TemporaryDirectory(prefix="utter-web-", ignore_cleanup_errors=True) as folder:
        downloads = os.path.join(folder, "downloads")
        os.mkdir(downloads)
        server, browser = Server(utter, folder), Browser(program, os.path.join(folder, "profile"))
        try:
            page = Page(browser, server.url, downloads)
            tests = [(t, (page, server, downloads)) for n, t in globals().items()
                     if n.startswith("test_") and n != "test_a_key_is_asked_for"]
            tests.append((test_a_key_is_asked_for, (browser, utter, folder, downloads)))
            for test, arguments in tests:
                try:
                    test(*arguments)
                    print("ok     ", test.__name__, flush=True)
                except AssertionError as e:
                    n_failed += 1
                    print("FAILED ", test.__name__, "-", e, flush=True)
        finally:
            browser.close()
            server.close()
    return 1 if n_failed else 0


if __name__ == "__main__":
    sys.exit(main())
