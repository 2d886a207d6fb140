"""A page: what it says (`content`), and how it becomes one HTML file that needs no other file.

>>> page = Page("A study", "Does it work?", facts=[("seeds", "8")])
>>> html(page).startswith("<!doctype html>")
True
"""

from __future__ import annotations

from .content import Finding, Page, Section, Table
from .document import check, html, write

__all__ = ["Finding", "Page", "Section", "Table", "check", "html", "write"]
