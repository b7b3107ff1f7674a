"""A headless Chromium that is asked what a page did: dialogs, console, requests, pictures, width.

It is spoken to over two pipes (`--remote-debugging-pipe`: JSON documents, each ended by a zero byte), so neither a
driver nor a websocket is needed. Where there is no Chromium a test is skipped, and an error in CI.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import pytest

DESKTOP = (1280, 900)
PHONE = (390, 844)
WITHIN_S = 90.0

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-pipe",
)
_AS_3_AND_4 = """
import fcntl, os, sys
orders, answers = (fcntl.fcntl(int(number), fcntl.F_DUPFD, 10) for number in sys.argv[1:3])
os.dup2(orders, 3)
os.dup2(answers, 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
"""Chromium reads its orders from descriptor 3 and answers on 4."""

_TOUCH = """
for (const one of document.querySelectorAll('*')) {
  for (const kind of ['mouseover', 'mouseenter', 'focus', 'load', 'error', 'toggle'])
    one.dispatchEvent(new Event(kind, {bubbles: kind === 'mouseover'}));
  if (typeof one.click === 'function') one.click();
}
"""
"""What a curious reader could set off."""

_MEASURE = """
(async () => {
  await Promise.all([...document.images].map((image) => image.decode().catch(() => 0)));
  const root = document.documentElement;
  return {
    text: document.body.innerText,
    title: document.title,
    images: [...document.images].map((image) => [image.naturalWidth, image.getBoundingClientRect().width]),
    elements: [...new Set([...document.querySelectorAll('*')].map((one) => one.localName))],
    overflow: Math.max(root.scrollWidth, document.body.scrollWidth) - root.clientWidth,
    width: window.innerWidth,
  };
})()
"""

Message = dict[str, Any]


@dataclass(slots=True, kw_only=True)
class Seen:
    """What a page did and how it looks. Widths are in CSS pixels."""

    dialogs: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    """Everything on the console: messages, errors, and what the content security policy stopped."""
    asked: list[str] = field(default_factory=list)
    """The addresses that it wanted, but for its own and `data:`."""
    text: str = ""
    title: str = ""
    images: list[tuple[float, float]] = field(default_factory=list)
    """Each picture's natural width (0: it cannot be shown) and the width at which it is shown."""
    elements: frozenset[str] = frozenset()
    overflow: float = 0
    width: float = 0


class Browser:
    """One Chromium; each look is a page of its own."""

    def __init__(self, program: str, folder: Path) -> None:
        theirs, self._orders = os.pipe()
        self._answers, theirs_too = os.pipe()
        argv = [program, *_FLAGS, f"--user-data-dir={folder / 'profile'}"]
        launcher = [sys.executable, "-I", "-S", "-c", _AS_3_AND_4, str(theirs), str(theirs_too), *argv]
        self._log = folder / "chromium.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                launcher,
                pass_fds=(theirs, theirs_too),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "HOME": str(folder)},
            )
        os.close(theirs)
        os.close(theirs_too)
        self._number = 0
        self._unread = b""
        self._seen = Seen()
        self._own = ""
        self._loaded = False

    def look(self, page: Path, size: tuple[int, int] = DESKTOP) -> Seen:
        """Open a file, touch everything on it, and return what it did; dialogs are answered with OK."""
        self._seen, self._own, self._loaded = Seen(), page.absolute().as_uri(), False
        target = self._order("Target.createTarget", url="about:blank")["targetId"]
        tab = self._order("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._order(f"{domain}.enable", tab)
        width, height = size
        self._order(
            "Emulation.setDeviceMetricsOverride",
            tab,
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=size == PHONE,
        )
        went = self._order("Page.navigate", tab, url=self._own)
        assert "errorText" not in went, went
        self._wait(lambda: self._loaded, f"{page} is loaded")
        self._order("Runtime.evaluate", tab, expression=_TOUCH)
        asked = self._order("Runtime.evaluate", tab, expression=_MEASURE, awaitPromise=True, returnByValue=True)
        found = asked["result"]["value"]
        seen = self._seen
        seen.text, seen.title = found["text"], found["title"]
        seen.images = [(natural, shown) for natural, shown in found["images"]]
        seen.elements = frozenset(found["elements"])
        seen.overflow, seen.width = found["overflow"], found["width"]
        self._order("Target.closeTarget", targetId=target)
        return seen

    def close(self) -> None:
        """End it."""
        with suppress(OSError, AssertionError):
            self._order("Browser.close")
        for end in (self._orders, self._answers):
            os.close(end)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _order(self, method: str, tab: str = "", **parameters: Any) -> Message:
        """Give an order and return its answer; what happens meanwhile is noted."""
        number = self._send(method, tab, parameters)
        answers: list[Message] = []

        def answered() -> bool:
            return any(answer["id"] == number for answer in answers)

        self._wait(answered, method, answers)
        answer = next(answer for answer in answers if answer["id"] == number)
        assert "error" not in answer, (method, answer["error"])
        result: Message = answer["result"]
        return result

    def _send(self, method: str, tab: str, parameters: Message) -> int:
        self._number += 1
        order = {"id": self._number, "method": method, "params": parameters} | ({"sessionId": tab} if tab else {})
        os.write(self._orders, json.dumps(order).encode() + b"\0")
        return self._number

    def _wait(self, done: Callable[[], bool], what: str, answers: list[Message] | None = None) -> None:
        until = time.monotonic() + WITHIN_S
        while not done():
            for message in self._read(until - time.monotonic(), what):
                if "id" not in message:
                    self._note(message)
                elif answers is not None:
                    answers.append(message)

    def _read(self, seconds: float, what: str) -> Iterator[Message]:
        ready, _, _ = select.select([self._answers], [], [], max(seconds, 0))
        if not ready:
            self._fail(f"{what}: not within {WITHIN_S:g} s")
        data = os.read(self._answers, 1 << 20)
        if not data:
            self._fail(f"{what}: Chromium has ended")
        *whole, self._unread = (self._unread + data).split(b"\0")
        yield from map(json.loads, whole)

    def _fail(self, what: str) -> NoReturn:
        raise AssertionError(f"{what}\n{self._log.read_text(errors='replace')[-2000:]}")

    def _note(self, message: Message) -> None:
        told = message.get("params", {})
        match message["method"]:
            case "Page.loadEventFired":
                self._loaded = True
            case "Page.javascriptDialogOpening":
                self._seen.dialogs.append(f"{told['type']}: {told['message']}")
                self._send("Page.handleJavaScriptDialog", message["sessionId"], {"accept": True})
            case "Runtime.consoleAPICalled":
                words = " ".join(str(each.get("value", each.get("description"))) for each in told["args"])
                self._seen.said.append(f"{told['type']}: {words}")
            case "Runtime.exceptionThrown":
                self._seen.said.append(f"exception: {told['exceptionDetails']['text']}")
            case "Log.entryAdded":
                self._seen.said.append(f"{told['entry']['level']}: {told['entry']['text']}")
            case "Network.requestWillBeSent":
                address = told["request"]["url"]
                if address != self._own and not address.startswith(("data:", "about:blank")):
                    self._seen.asked.append(address)


@contextmanager
def chromium(folder: Path) -> Iterator[Browser]:
    """Run a Chromium for as long as the block lasts."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        reason = "no Chromium is installed"
        if os.environ.get("CI"):
            raise RuntimeError(f"{reason}, and CI must not skip")
        pytest.skip(reason)
    browser = Browser(program, folder)
    try:
        yield browser
    finally:
        browser.close()
