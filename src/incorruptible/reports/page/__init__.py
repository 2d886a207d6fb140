"""What a study found, as one HTML file that needs nothing but itself."""

from __future__ import annotations

from .content import Finding, Page, Section, Table
from .document import check, html, write

__all__ = ["Finding", "Page", "Section", "Table", "check", "html", "write"]
