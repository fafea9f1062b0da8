"""Debian's chromium for tests of pages: through chromium-driver, on the loopback, with the metrics of a device."""

from __future__ import annotations

import base64
import http.client
import json
import shutil
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Optional

MISSING = next((f"needs {name}: apt-get install chromium chromium-driver" for name in ("chromium", "chromedriver")
                if shutil.which(name) is None), None)  # fmt: skip
_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
_TAB = "\ue004"


class Browser:
    """One browser window.

    Args:
        folder: empty; the browser's own data.
        width, height: CSS pixels of the device.
        phone: a phone, which lays out by its page's viewport.
    """

    def __init__(self, folder: Path, *, width: int, height: int = 844, phone: bool = False) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self._driver = subprocess.Popen(
            ["chromedriver", f"--port={self._port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._session = ""
        options = {"args": [*_FLAGS, f"--user-data-dir={folder}"], "binary": shutil.which("chromium")}
        wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        try:
            self._wait()
            answer = self._ask("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
            self._session = f"/session/{answer['sessionId']}"
            metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone}
            self.devtools("Emulation.setDeviceMetricsOverride", **metrics)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, kind: Optional[type[BaseException]], error: object, where: Optional[TracebackType]) -> None:
        self.close()

    def close(self) -> None:
        """End the browser."""
        if self._session:
            self._ask("DELETE", self._session)
        self._driver.terminate()
        self._driver.wait(10)

    def scheme(self, name: str) -> None:
        """Prefer "light" or "dark"."""
        self.devtools("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": name}])

    def open(self, page: Path) -> None:
        """Load a file."""
        self._ask("POST", f"{self._session}/url", {"url": page.as_uri()})

    def script(self, text: str) -> Any:
        """Run a function's body in the page."""
        return self._ask("POST", f"{self._session}/execute/sync", {"script": text, "args": []})

    def tab(self) -> None:
        """Press Tab."""
        keys = [{"type": "keyDown", "value": _TAB}, {"type": "keyUp", "value": _TAB}]
        self._ask("POST", f"{self._session}/actions", {"actions": [{"type": "key", "id": "keys", "actions": keys}]})

    def errors(self) -> list[str]:
        """What the console got at the level of a warning or above."""
        lines = self._ask("POST", f"{self._session}/se/log", {"type": "browser"})
        return [line["message"] for line in lines if line["level"] in ("WARNING", "SEVERE")]

    def picture(self, path: Path) -> None:
        """Save the whole page as PNG."""
        made = self.devtools("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(made["data"]))

    def devtools(self, command: str, **arguments: Any) -> Any:
        """Run a command of the DevTools protocol."""
        return self._ask("POST", f"{self._session}/goog/cdp/execute", {"cmd": command, "params": arguments})

    def _ask(self, method: str, path: str, body: Optional[dict[str, Any]] = None) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=120)
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None)
            answer = json.loads(connection.getresponse().read())["value"]
        finally:
            connection.close()
        assert not (isinstance(answer, dict) and "error" in answer), answer
        return answer

    def _wait(self) -> None:
        for _ in range(300):
            try:
                if self._ask("GET", "/status")["ready"]:
                    return
            except OSError:
                time.sleep(0.1)
        raise AssertionError("chromedriver does not start")
