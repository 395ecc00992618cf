"""Chromium without a window, driven over a pipe (DevTools protocol, messages end in a zero byte): no driver, no extra package."""

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

SECONDS = 60.0


class Browser:
    """One tab. A context manager; `folder` takes the profile."""

    def __init__(self, folder: Path):
        program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
        if program is None:
            pytest.skip("no chromium on PATH: apt-get install chromium")
        theirs, self.to = _pipe()
        self.fro, theirs_too = _pipe()
        flags = ["--headless=new", "--remote-debugging-pipe", "--no-first-run", "--disable-gpu", f"--user-data-dir={folder}"]
        flags += ["--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update"]
        flags += ["--no-sandbox"] if os.geteuid() == 0 else []

        def become_3_and_4():
            os.dup2(theirs, 3)
            os.dup2(theirs_too, 4)

        self.process = subprocess.Popen(
            [program, *flags, "about:blank"], preexec_fn=become_3_and_4, close_fds=False,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(theirs)
        os.close(theirs_too)
        self.count, self.rest, self.session, self.events = 0, b"", None, []

    def __enter__(self):
        targets = self.call("Target.getTargets")["targetInfos"]
        tab = next(target["targetId"] for target in targets if target["type"] == "page")
        self.session = self.call("Target.attachToTarget", targetId=tab, flatten=True)["sessionId"]
        for domain in ("Page", "Log", "Runtime", "Network"):
            self.call(f"{domain}.enable")
        return self

    def __exit__(self, *_):
        os.close(self.to)
        self.process.terminate()
        self.process.wait(SECONDS)
        os.close(self.fro)

    def call(self, method: str, **params) -> dict:
        """Send a command and wait for its result; events that come meanwhile are kept."""
        self.count += 1
        message = {"id": self.count, "method": method, "params": params} | ({"sessionId": self.session} if self.session else {})
        os.write(self.to, json.dumps(message).encode() + b"\0")
        while True:
            got = self._receive()
            if got.get("id") == self.count:
                assert "error" not in got, f"{method}: {got['error']}"
                return got["result"]
            self.events.append(got)

    def run(self, script: str):
        """The value of a JavaScript expression."""
        said = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in said, f"{script}: {said['exceptionDetails']}"
        return said["result"].get("value")

    def until(self, script: str):
        """Wait for a JavaScript expression to be true, and give its value."""
        end = time.monotonic() + SECONDS
        while not (value := self.run(script)):
            assert time.monotonic() < end, f"still not: {script}; the page reads {self.run('document.body.innerText')!r}"
            time.sleep(0.1)
        return value

    def choose(self, selector: str, number: int, file: Path) -> None:
        """Put a file into a file input."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        nodes = self.call("DOM.querySelectorAll", nodeId=root, selector=selector)["nodeIds"]
        self.call("DOM.setFileInputFiles", nodeId=nodes[number], files=[str(file)])

    def complaints(self) -> list:
        """What went wrong in the page or on its way: exceptions, refused content, errors in the console."""
        kinds = ("Runtime.exceptionThrown", "Log.entryAdded")
        return [event["params"] for event in self.events if event.get("method") in kinds]

    def shoot(self, file: Path, width: int, height: int, dark: bool = False, mobile: bool = False) -> None:
        """A picture of the whole page at this width."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile)
        self.call("Emulation.setTouchEmulationEnabled", enabled=mobile)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        file.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", captureBeyondViewport=True)["data"]))

    def _receive(self) -> dict:
        while b"\0" not in self.rest:
            ready, _, _ = select.select([self.fro], [], [], SECONDS)
            data = os.read(self.fro, 1 << 20) if ready else b""
            assert data, f"the browser said nothing for {SECONDS:.0f} s, or ended ({self.process.poll()})"
            self.rest += data
        message, self.rest = self.rest.split(b"\0", 1)
        return json.loads(message)


def _pipe() -> tuple[int, int]:
    """Reading and writing end, both above 9, so that neither is overwritten when the child's become 3 and 4."""
    ends = os.pipe()
    moved = tuple(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends)
    for end in ends:
        os.close(end)
    return moved


@pytest.fixture
def browser(tmp_path):
    """A tab; the test is skipped where no Chromium is on PATH."""
    with Browser(tmp_path / "profile") as tab:
        yield tab
