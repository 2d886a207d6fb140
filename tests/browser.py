"""A Chromium for tests that look at a page as its readers do, where one is installed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from waiting import HANG

__all__ = ["chromium"]

NAMES = ("chromium", "chromium-browser", "google-chrome")
QUIET = ("background-networking", "component-update", "sync", "gpu", "quic")


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser of playwright's; skips the test that asks for it where playwright or Chromium is missing."""
    api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip(f"needs a browser: {' or '.join(NAMES)}")
    options = ["--no-sandbox", "--no-first-run", *(f"--disable-{name}" for name in QUIET)]
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=options, timeout=HANG * 1000)
        yield browser
        browser.close()
