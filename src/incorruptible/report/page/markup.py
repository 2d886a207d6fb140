"""HTML from text: what is not markup already is escaped, so that no text can become an element."""

from __future__ import annotations

import re
from html import escape

__all__ = ["Markup", "element", "join", "paragraphs", "slug"]


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def _inner(part: str) -> str:
    return part if isinstance(part, Markup) else escape(part, quote=False)


def element(name: str, *inside: str, **attributes: str | bool) -> Markup:
    """One element; `class_` and `aria_label` are written `class` and `aria-label`, False leaves an
    attribute out.

    >>> element("p", "1 < 2, ", element("b", "so"), class_="note")
    '<p class="note">1 &lt; 2, <b>so</b></p>'
    """
    written = ""
    for key, value in attributes.items():
        attribute = key.rstrip("_").replace("_", "-")
        if value is True:
            written += f" {attribute}"
        elif value is not False:
            written += f' {attribute}="{escape(value)}"'
    return Markup(f"<{name}{written}>{''.join(map(_inner, inside))}</{name}>")


def join(*parts: str) -> Markup:
    """Parts one after the other, each on a line of its own."""
    return Markup("\n".join(map(_inner, parts)))


def paragraphs(text: str) -> Markup:
    """Text as paragraphs, which empty lines part."""
    return join(*(element("p", part) for part in re.split(r"\n\s*\n", text.strip()) if part))


def slug(*parts: str) -> str:
    """A name for an anchor.

    >>> slug("figure", "Accuracy, by arm")
    'figure-accuracy-by-arm'
    """
    return "-".join(re.sub(r"[^a-z0-9]+", "-", part.lower()).strip("-") for part in parts)
