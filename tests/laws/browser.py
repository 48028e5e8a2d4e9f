"""A page in headless Chromium, by its own protocol over a pipe: no package is needed, only the browser."""

import base64
import json
import os
import shutil
import subprocess
import sys
import time

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FOUND = next((path for name in NAMES if (path := shutil.which(name))), None)
# The browser reads commands from 3 and answers in 4.
START = """import os, sys
ends = [os.dup(int(fd)) for fd in sys.argv[1:3]]
os.dup2(ends[0], 3), os.dup2(ends[1], 4)
os.set_inheritable(3, True), os.set_inheritable(4, True)
os.execv(sys.argv[3], sys.argv[3:])"""
SECONDS = 60.0  # until the browser is given up


class Page:
    """One page. `said`: what the console and the log had of errors and warnings, and every request that was made."""

    def __init__(self, folder):
        self._out, theirs_in = os.pipe()[::-1]
        theirs_out, self._in = os.pipe()[::-1]

        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", "--no-first-run",
                 f"--user-data-dir={folder}", "--disable-dev-shm-usage", "--disable-background-networking"]  # fmt: skip
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        ends = theirs_in, theirs_out
        command = [sys.executable, "-c", START, *map(str, ends), FOUND, *flags]
        self._child = subprocess.Popen(command, pass_fds=ends, **quiet)
        os.close(theirs_in)
        os.close(theirs_out)
        self._n, self._rest, self._session = 0, b"", None
        self.said, self.requests = [], []
        try:
            self._attach()
        except BaseException:
            self.close()
            raise

    def _attach(self):
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def ask(self, method, **params):
        """The result of a command."""
        self._n += 1
        row = {"id": self._n, "method": method, "params": params}
        row |= {"sessionId": self._session} if self._session else {}
        os.write(self._out, json.dumps(row).encode() + b"\0")
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            answer = self._next()
            if answer.get("id") == self._n:
                assert "error" not in answer, answer
                return answer["result"]
            self._note(answer)
        raise TimeoutError(method)

    def _next(self):
        while b"\0" not in self._rest:
            more = os.read(self._in, 1 << 20)
            assert more, "the browser has ended"
            self._rest += more
        line, _, self._rest = self._rest.partition(b"\0")
        return json.loads(line)

    def _note(self, event):
        about = event.get("params", {})
        if event.get("method") == "Runtime.consoleAPICalled" and about["type"] in ("error", "warning", "assert"):
            self.said.append(" ".join(str(arg.get("value", arg.get("description"))) for arg in about["args"]))
        if event.get("method") == "Runtime.exceptionThrown":
            self.said.append(str(about["exceptionDetails"]))
        if event.get("method") == "Log.entryAdded" and about["entry"]["level"] in ("error", "warning"):
            self.said.append(about["entry"]["text"])
        if event.get("method") == "Network.requestWillBeSent":
            self.requests.append(about["request"]["url"])

    def run(self, code):
        """The value of an expression in the page; of a promise what it resolves to."""
        found = self.ask("Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def until(self, code):
        """Waits for an expression to be true, and gives it."""
        end = time.monotonic() + SECONDS
        while not (value := self.run(code)):
            assert time.monotonic() < end, code
            time.sleep(0.1)
        return value

    def open(self, path, width=1200, dark=False):
        """Shows a file on a screen of this width, in pixels, for a reader who likes it dark."""
        phone = {"deviceScaleFactor": 1, "mobile": width < 500}
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=900, **phone)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[scheme])
        self.ask("Page.navigate", url=f"file://{path}")
        self.until("document.readyState === 'complete'")

    def move(self, x, y):
        """The mouse to a place, in pixels of the window."""
        self.ask("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def screenshot(self, path):
        """All of the page as a PNG."""
        size = self.ask("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        data = self.ask("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)["data"]
        path.write_bytes(base64.b64decode(data))

    def close(self):
        """Ends the browser."""
        self._child.kill()
        self._child.wait()
        os.close(self._out)
        os.close(self._in)
