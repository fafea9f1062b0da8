"""The page of an analysis in Debian's chromium: on a phone and on a desk, light and dark, by keyboard alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Iterator

import pytest
from bootskit import SPANS, put, timeline, two_boots
from browserkit import MISSING, Browser
from kit import Guest

from azurelite.cli import main

pytestmark = [pytest.mark.spawns, pytest.mark.skipif(MISSING is not None, reason=MISSING or "")]

WIDTHS = {"phone": 390, "desk": 1280}
CONTROLS = "a[href],button,input,select,textarea,summary,[tabindex]"
WHERE = "const e = document.activeElement; return e.id || e.getAttribute('href') || e.tagName"
BACKGROUND = "return getComputedStyle(document.body).backgroundColor"
SHOWN = "return [...document.querySelectorAll('#waterfall li')].filter(e => e.offsetParent).length"


@pytest.fixture(params=WIDTHS)
def browser(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Browser]:
    folder = tmp_path / "browser"
    with Browser(folder, width=WIDTHS[request.param], phone=request.param == "phone") as made:
        yield made


def page_of(guest: Guest, path: Path, *words: str) -> Path:
    assert main(["analyze", "--root", guest.root, "--html", str(path), *words]) == 0
    return path


def test_it_fits_in_light_and_dark_and_keys_reach_everything(
    browser: Browser, guest: Guest, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    width = WIDTHS[request.node.callspec.params["browser"]]
    page = page_of(two_boots(guest), tmp_path / "page.html", "--compare")
    backgrounds = set()
    for scheme in ("light", "dark"):
        browser.scheme(scheme)
        browser.open(page)
        assert browser.script("return innerWidth") == width
        assert browser.script("return document.documentElement.scrollWidth") <= width
        backgrounds.add(browser.script(BACKGROUND))
        assert browser.errors() == []
    assert len(backgrounds) == 2
    wanted = browser.script(f"return document.querySelectorAll('{CONTROLS}').length")
    reached = []
    for _ in range(wanted):
        browser.tab()
        reached.append(browser.script(WHERE))
    assert len(set(reached)) == wanted == 7
    assert {"#slowest", "#waterfall", "#comparison", "requests", "skipped"} <= set(reached)


def test_the_switches_hide_rows(browser: Browser, guest: Guest, tmp_path: Path) -> None:
    browser.open(page_of(two_boots(guest), tmp_path / "page.html"))
    assert browser.script(SHOWN) == len(SPANS) - 1
    browser.script("document.getElementById('skipped').click()")
    assert browser.script(SHOWN) == len(SPANS)
    browser.script("document.getElementById('requests').click()")
    assert browser.script(SHOWN) == len(SPANS) - 3


def test_long_names_do_not_widen_it(browser: Browser, guest: Guest, tmp_path: Path) -> None:
    long: dict[str, Any] = {**SPANS[0], "name": "n" * 190, "detail": "d" * 900}
    deep = [{**long, "parent": index - 1 if index else None} for index in range(40)]
    put(guest, "run/azurelite", timeline(spans=deep))
    browser.open(page_of(guest, tmp_path / "page.html"))
    assert browser.script("return document.documentElement.scrollWidth <= innerWidth")
    assert browser.errors() == []
