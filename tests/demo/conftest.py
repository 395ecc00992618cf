"""Headless Chromium, controlled over a pipe (DevTools protocol, null-terminated messages): no driver, no extra package."""

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests.recognition.conftest import analysis, frame, pack, routed

__all__ = ["analysis", "frame", "pack", "routed"]
SECONDS = 60.0


class Browser:
    """One tab, as a context manager. `folder` holds the profile."""

    def __init__(self, folder: Path):
        program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
        if program is None:
            pytest.skip("no chromium on PATH: apt-get install chromium")
        child_in, self.to_browser = _pipe()
        self.from_browser, child_out = _pipe()
        flags = ["--headless=new", "--remote-debugging-pipe", "--no-first-run", "--disable-gpu", f"--user-data-dir={folder}"]
        flags += ["--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update"]
        flags += ["--no-sandbox"] if os.geteuid() == 0 else []

        def use_descriptors_3_and_4():
            os.dup2(child_in, 3)
            os.dup2(child_out, 4)

        self.process = subprocess.Popen(
            [program, *flags, "about:blank"],
            preexec_fn=use_descriptors_3_and_4,
            close_fds=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(child_in)
        os.close(child_out)
        self.count, self.buffer, self.session, self.events = 0, b"", None, []

    def __enter__(self):
        targets = self.call("Target.getTargets")["targetInfos"]
        tab = next(target["targetId"] for target in targets if target["type"] == "page")
        self.session = self.call("Target.attachToTarget", targetId=tab, flatten=True)["sessionId"]
        for domain in ("Page", "Log", "Runtime", "Network"):
            self.call(f"{domain}.enable")
        return self

    def __exit__(self, *_):
        os.close(self.to_browser)
        self.process.terminate()
        self.process.wait(SECONDS)
        os.close(self.from_browser)

    def call(self, method: str, **params) -> dict:
        """Send a command and wait for its result; events received meanwhile are stored."""
        self.count += 1
        message = {"id": self.count, "method": method, "params": params} | ({"sessionId": self.session} if self.session else {})
        os.write(self.to_browser, json.dumps(message).encode() + b"\0")
        while True:
            reply = self._receive()
            if reply.get("id") == self.count:
                assert "error" not in reply, f"{method}: {reply['error']}"
                return reply["result"]
            self.events.append(reply)

    def run(self, script: str):
        """The value of a JavaScript expression."""
        reply = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in reply, f"{script}: {reply['exceptionDetails']}"
        return reply["result"].get("value")

    def until(self, script: str):
        """Wait until a JavaScript expression is true; return its value."""
        end = time.monotonic() + SECONDS
        while not (value := self.run(script)):
            assert time.monotonic() < end, f"timeout: {script}; text of the page: {self.run('document.body.innerText')!r}"
            time.sleep(0.1)
        return value

    def choose(self, selector: str, number: int, file: Path) -> None:
        """Put a file into a file input."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        nodes = self.call("DOM.querySelectorAll", nodeId=root, selector=selector)["nodeIds"]
        self.call("DOM.setFileInputFiles", nodeId=nodes[number], files=[str(file)])

    def page_errors(self) -> list:
        """Exceptions, blocked content and console errors of the page."""
        kinds = ("Runtime.exceptionThrown", "Log.entryAdded")
        return [event["params"] for event in self.events if event.get("method") in kinds]

    def screenshot(self, file: Path, width: int, height: int, dark: bool = False, mobile: bool = False) -> None:
        """Save a screenshot of the whole page at this width."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile)
        self.call("Emulation.setTouchEmulationEnabled", enabled=mobile)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        file.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", captureBeyondViewport=True)["data"]))

    def _receive(self) -> dict:
        while b"\0" not in self.buffer:
            ready, _, _ = select.select([self.from_browser], [], [], SECONDS)
            data = os.read(self.from_browser, 1 << 20) if ready else b""
            assert data, f"no message from the browser for {SECONDS:.0f} s, or it exited ({self.process.poll()})"
            self.buffer += data
        message, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(message)


def _pipe() -> tuple[int, int]:
    """Read and write end, both above 9, so that the child can use 3 and 4."""
    ends = os.pipe()
    moved = tuple(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends)
    for end in ends:
        os.close(end)
    return moved


@pytest.fixture
def browser(tmp_path):
    """A tab; skips the test if no Chromium is on PATH."""
    with Browser(tmp_path / "profile") as tab:
        yield tab
