"""The HTML document of a report, which a browser shows without loading anything else.

`templates/page.html` holds the document, `templates/parts.html` its parts, `page.css` and `page.js`
the style and the script.

Relies on: `page.js` finds the data of the charts in the element `charts`, by the names that
`figures.anchor` gives; plotly.js comes with the Python package.
Keeps: every text of a page is escaped, since the templates escape on their own; the document's
policy allows exactly the two scripts that stand in it, by their hashes; equal pages are equal
bytes.
"""

from __future__ import annotations

import base64
import hashlib
import re
from importlib import import_module
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from ...errors import UserError
from ...files.records import write_text
from ...plots.web import DARK, figure
from .content import Page
from .evidence import by_question
from .figures import anchor, slug, strengths, tables
from .tables import places, written


def check() -> None:
    """Raise `UserError` where plotly, which draws the charts, is not installed."""
    if find_spec("plotly") is None:
        raise UserError("the report needs plotly: pip install 'incorruptible[report]'")


def write(page: Page, path: Path) -> None:
    """Write the page as one HTML file, whole or not at all."""
    write_text(path, html(page))


def html(page: Page) -> str:
    """The page as one HTML document that loads nothing; equal pages are equal bytes.

    Raises `UserError` where plotly is missing. Raises ValueError for two charts of one name, and
    for a chart whose selector has strengths that the page does not list.
    """
    check()
    _consistent(page)
    plotly = import_module("plotly.offline").get_plotlyjs()
    script, style = (
        (files(__package__) / name).read_text(encoding="utf-8") for name in ("page.js", "page.css")
    )
    policy = (
        f"default-src 'none'; script-src {_hash(plotly)} {_hash(script)}; "
        "style-src 'unsafe-inline'; "  # plotly writes a style sheet, and styles of elements
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    charts = {anchor(chart): figure(chart) for section in page.sections for chart in section.charts}
    return (
        _templates()
        .get_template("page.html")
        .render(
            page=page,
            policy=policy,
            style=style,
            scripts=[plotly, script],
            drawn={"dark": DARK, "charts": charts},
        )
    )


def _templates() -> Environment:
    """The templates, with the functions that they use as filters."""
    found = Environment(
        loader=PackageLoader(__package__),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    found.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    for function in (anchor, by_question, paragraphs, places, slug, strengths, tables, written):
        found.filters[function.__name__] = function
    return found


def paragraphs(text: str) -> list[str]:
    """The paragraphs of a text, between which empty lines stand."""
    return [part for part in re.split(r"\n\s*\n", text.strip()) if part]


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
    """How the document's policy names a script that it allows."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
