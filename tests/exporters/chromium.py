"""Chromium without a window, driven by the DevTools protocol over two pipes: nothing has to be installed for it."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PROGRAM = next(filter(None, map(shutil.which, BROWSERS)), None)
LONGEST = 60  # seconds that an answer may take
KEYS = {"Tab": 9, "Enter": 13, " ": 32}


class Page:
    """A page in a browser of its own.

    Attributes:
        events: what the browser has told since the page was opened: [(method, parameters)].
    """

    def __init__(self, profile: Path):
        (to_browser, self._to), (self._from, from_browser) = os.pipe(), os.pipe()
        given = [
            fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (to_browser, from_browser)
        ]  # above the 3 and 4
        command = [PROGRAM, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        command += [
            "--remote-debugging-pipe",
            f"--user-data-dir={profile}",
            "--use-fake-device-for-media-stream",
        ]
        shell = ["bash", "-c", f'exec "$@" 3<&{given[0]} 4>&{given[1]}', "bash", *command]
        self._process = subprocess.Popen(shell, pass_fds=given, stderr=subprocess.DEVNULL)
        for end in (to_browser, from_browser, *given):
            os.close(end)
        self._received, self._count, self._session, self.events = b"", 0, None, []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network", "DOM"):
            self.ask(f"{domain}.enable")

    def close(self) -> None:
        """Ends the browser."""
        self._session = None
        self.ask("Browser.close")
        self._process.wait(LONGEST)
        os.close(self._to)
        os.close(self._from)

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Returns the answer to a command of the protocol."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": parameters}
        message |= {"sessionId": self._session} if self._session else {}
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self._count:
            self.events.append((answer["method"], answer["params"]))
        assert "error" not in answer, f"{method}: {answer['error']}"
        return answer["result"]

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._received:
            assert select.select([self._from], [], [], LONGEST)[0], "the browser does not answer"
            part = os.read(self._from, 1 << 20)
            assert part, "the browser has ended"
            self._received += part
        message, _, self._received = self._received.partition(b"\0")
        return json.loads(message)

    def open(self, address: str) -> None:
        """Loads a page."""
        self.events.clear()
        self.ask("Page.navigate", url=address)

    def run(self, script: str) -> Any:
        """Returns the value of an expression, or of what it promises."""
        answer = self.ask("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, condition: str) -> Any:
        """Waits until an expression is true, and returns its value; what is not there yet is not true."""
        whether = f"(() => {{ try {{ return {condition}; }} catch {{ return null; }} }})()"
        end = time.monotonic() + LONGEST
        while not (value := self.run(whether)):
            assert time.monotonic() < end, f"never true: {condition}; {self.run('document.body.innerText')}"
            time.sleep(0.02)
        return value

    def choose(self, selector: str, *files: Path) -> None:
        """Chooses files in an input, as a person does in its window."""
        found = self.ask("Runtime.evaluate", expression=f"document.querySelector({json.dumps(selector)})")
        self.ask("DOM.setFileInputFiles", files=list(map(str, files)), objectId=found["result"]["objectId"])

    def press(self, key: str) -> None:
        """Presses a key of `KEYS`."""
        about = {"key": key, "code": "Space" if key == " " else key, "windowsVirtualKeyCode": KEYS[key]}
        text = {"Enter": "\r", " ": " "}.get(key)
        self.ask("Input.dispatchKeyEvent", type="keyDown", **about, **({"text": text} if text else {}))
        self.ask("Input.dispatchKeyEvent", type="keyUp", **about)

    def look(self, *, width: int = 1000, height: int = 800, dark: bool = False) -> None:
        """Sets the size of the window in pixels, and whether the reader likes it dark."""
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[scheme])

    def picture(self, path: Path) -> None:
        """Writes what is seen of the page as a PNG file."""
        path.write_bytes(base64.b64decode(self.ask("Page.captureScreenshot")["data"]))
