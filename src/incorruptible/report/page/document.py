"""The HTML document: everything that a page says, in one file, with the scripts that it may run
named by their hashes.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from importlib import import_module
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

from ...errors import UserError
from ...files.records import write_text
from ...plots.web import DARK, figure
from .content import Page
from .evidence import chip, evidence
from .figures import anchor, element_of, strengths
from .markup import Markup, element, join, paragraphs, slug
from .tables import table

__all__ = ["check", "html", "write"]


def check() -> None:
    """Raise `UserError` where plotly, which draws the charts, is not installed."""
    if find_spec("plotly") is None:
        raise UserError("the report needs plotly: pip install 'incorruptible[report]'")


def write(page: Page, path: Path) -> None:
    """Write the page as one HTML file, whole or not at all."""
    write_text(path, html(page))


def html(page: Page) -> str:
    """The page as one HTML document that loads nothing; equal pages are equal bytes.

    Raises `UserError` where plotly is missing, and ValueError for two charts of one name or a chart
    whose selector has strengths that are not the page's.
    """
    check()
    _consistent(page)
    plotly = Markup(import_module("plotly.offline").get_plotlyjs())
    script = Markup((files(__package__) / "page.js").read_text(encoding="utf-8"))
    style = Markup((files(__package__) / "page.css").read_text(encoding="utf-8"))
    policy = "; ".join(
        (
            "default-src 'none'",
            f"script-src {_hash(plotly)} {_hash(script)}",
            "style-src 'unsafe-inline'",  # plotly writes a style sheet, and styles of elements
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )
    head = element(
        "head",
        Markup(
            '\n<meta charset="utf-8">\n'
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            '<meta name="color-scheme" content="light dark">\n'
            '<link rel="icon" href="data:,">\n'  # else browsers ask a server for one
        ),
        element("title", page.title),
        element("style", style),
    )
    body = element(
        "body",
        element("a", "Skip to the findings", href="#findings", class_="skip"),
        _header(page),
        _contents(page),
        element("main", join(*_main(page)), id="main"),
        element("footer", join(*_footer(page))),
        element("script", _data(page), type="application/json", id="charts"),
        element("script", plotly),
        element("script", script),
    )
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"


def _consistent(page: Page) -> None:
    charts = [chart for section in page.sections for chart in section.charts]
    names = [anchor(chart) for chart in charts]
    for chart in charts:
        if names.count(anchor(chart)) > 1:
            raise ValueError(f"two charts of the page are called {chart.name!r}")
        if not strengths(chart) <= set(page.strengths):
            raise ValueError(
                f"chart {chart.name!r} has panels that are not among the page's strengths"
            )


def _hash(script: str) -> str:
    """How a policy names the one script that it allows."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _data(page: Page) -> Markup:
    """What the script draws, as JSON in which no text can end the element that it stands in."""
    charts = {anchor(chart): figure(chart) for section in page.sections for chart in section.charts}
    text = json.dumps({"dark": DARK, "charts": charts}, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _header(page: Page) -> Markup:
    verdicts = [
        element(
            "li",
            element("a", finding.name, href=f"#{slug('finding', finding.name)}"),
            chip(finding.word),
            element("span", finding.text),
        )
        for finding in page.findings
    ]
    return element(
        "header",
        element("h1", page.title),
        element("p", page.question, class_="question"),
        element("ul", join(*verdicts), class_="verdicts", aria_label="Verdicts")
        if verdicts
        else "",
        *(element("p", line) for line in page.summary),
    )


def _parts(page: Page) -> Iterator[tuple[str, str]]:
    """Anchor and title of each part that the page has."""
    if page.findings:
        yield "findings", "Evidence"
    for section in page.sections:
        yield slug("section", section.title), section.title
    if page.tables:
        yield "tables", "Tables"
    if page.recipes:
        yield "recipes", "Recipes"
    if page.facts or page.command:
        yield "made", "How it was made"


def _contents(page: Page) -> Markup:
    entries = [element("li", element("a", title, href=f"#{name}")) for name, title in _parts(page)]
    return element("nav", element("h2", "Contents"), element("ul", *entries), aria_label="Contents")


def _part(name: str, title: str, *inside: str) -> Markup:
    return element(
        "section",
        element("h2", title, id=f"{name}-title"),
        *inside,
        id=name,
        aria_labelledby=f"{name}-title",
    )


def _main(page: Page) -> Iterator[Markup]:
    titles = dict(_parts(page))
    if page.findings:
        yield _part(
            "findings", titles["findings"], *(evidence(finding) for finding in page.findings)
        )
    if page.sections:
        yield Markup(
            "<noscript><p>The charts need JavaScript; their numbers stand under “Data” below "
            "each.</p></noscript>"
        )
    if page.strengths:
        yield _selector(page)
    for section in page.sections:
        drawn = (element_of(chart) for chart in section.charts)
        yield _part(slug("section", section.title), section.title, paragraphs(section.text), *drawn)
    if page.tables:
        yield _part(
            "tables", titles["tables"], *(table(one, page.strengths) for one in page.tables)
        )
    if page.recipes:
        recipes = (
            element("details", element("summary", name), element("pre", element("code", text)))
            for name, text in page.recipes
        )
        yield _part("recipes", titles["recipes"], element("div", *recipes, class_="recipes"))


def _selector(page: Page) -> Markup:
    """Hidden until there is a script that listens to it."""
    middle = len(page.strengths) // 2  # more to see than at rest
    options = (
        element("option", strength, value=strength, selected=i == middle)
        for i, strength in enumerate(page.strengths)
    )
    return element(
        "div",
        element("label", "Test strength", for_="strength"),
        element("select", *options, id="strength", autocomplete="off"),
        element("span", page.strength_unit),
        class_="strength",
        hidden=True,
    )


def _footer(page: Page) -> Iterator[Markup]:
    if not (page.facts or page.command):
        return
    facts = (join(element("dt", name), element("dd", value)) for name, value in page.facts)
    yield _part(
        "made",
        "How it was made",
        element("dl", *facts) if page.facts else "",
        element(
            "div",
            element("pre", element("code", page.command), id="command"),
            element("button", "Copy", type="button", id="copy", hidden=True),
            class_="command",
        )
        if page.command
        else "",
    )
