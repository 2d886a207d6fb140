"""The page of a report: what it says, and, in a browser, how it behaves."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from browser import chromium
from incorruptible.errors import UserError
from incorruptible.plots import Bars, Heat, Line, Lines
from incorruptible.reports.page import Finding, Page, Section, Table, check, html, write
from waiting import HANG, until

STRENGTHS = ("0", "0.05", "0.1", "0.2", "0.3", "0.4")
SHIFTS = {"": 0.0, ", linear": 0.1, ", warm-up-hold": 0.2, ", reversed": 0.3}
ARMS = {
    f"rwp {peak:g}{how}": peak + d for peak in (0.01, 0.02, 0.05, *np.arange(1, 8) / 10) for how, d in SHIFTS.items()
}
X, Y = "test strength, std of the error in max|W_f|", "test accuracy (%)"
EVIL = "</script><!--<script><img src=x onerror=alert(1)><b>\"'&amp; %{x} <a href='javascript:alert(2)'>"


def accuracy(arm: float, test: Any) -> Any:
    return 10 + 87 / (1 + (np.asarray(test, dtype=float) / (0.25 + arm / 3)) ** 2.5)


def row(
    at: str, left: str, right: str, middle: float, p: float, word: str, note: str = "", **more: Any
) -> dict[str, Any]:
    """As `Row.plain` gives it."""
    compared = {"difference": middle, "low": middle - 0.004, "high": middle + 0.004, "p": p, "n": [8, 997]}
    place = {"question": "C1", "at": at, "left": left, "right": right, "unit": "fraction", "word": word, "note": note}
    return place | compared | more


FINDINGS = (
    Finding(
        "C1",
        "conditional",
        "training noise above test noise is optimal for noise-robust generalisation (RWP)",
        [
            row("0.1", "rwp 0.2", "rwp 0.1", 0.0123, 0.00001, "supported", "loss gap shrinks by 0.013 nats"),
            row("0.4", "rwp 0.8", "rwp 0.4", -0.006, 0.01, "contradicted"),
            {
                "question": "C1, all",
                "at": "all",
                "left": "14 arms",
                "right": "22 arms",
                "unit": "fraction",
                "word": "undecided",
            }
            | {"note": "small 0.1"},
            row(
                "0.6",
                "rwp 0.6",
                "warm",
                0.41,
                0.0004,
                "supported",
                question="C1, loss",
                unit="nats",
                low=0.3,
                high=0.52,
                n=[8],
            ),
        ],
    ),
    Finding("C2", "supported", "SAM beats RWP under small test noise"),
)


def charts() -> list[Any]:
    tests = np.array(STRENGTHS, dtype=float)
    curves = []
    for name, arm in list(ARMS.items())[::6]:
        y = accuracy(arm, tests)
        curves.append(Line(tests, y, name, (y - 1, y + 1), dashed="linear" in name, mark=2))
    peaks = [0.01, 0.1, 0.6]
    chips = np.random.default_rng(0).normal(size=(3, 160))
    return [
        Lines("accuracy", "Accuracy under noise", {"": curves}, X, Y, "8 seeds", "Curves that fall as noise grows."),
        Lines("panels", "Three kinds", dict.fromkeys(("RWP", "SAM", "SAM, the noise's metric: rho"), curves[:3]), X, Y),
        Lines(
            "kappa",
            "By training strength",
            {
                s: [Line(peaks, accuracy(0.1 * i, float(s)) + np.log(peaks), n) for i, n in enumerate("ab")]
                for s in STRENGTHS
            },
            "training strength",
            Y,
            log_x=True,
            selector=True,
        ),
        Bars(
            "yield",
            "Single chips",
            {s: {n: accuracy(0.2 * i, float(s)) + chips[i] for i, n in enumerate("abc")} for s in STRENGTHS[1:]},
            Y,
            "chips",
            {"required 80%": 80.0},
            selector=True,
        ),
        Heat(
            "surface",
            "Every arm",
            [np.where(tests == 0.3, np.nan, accuracy(arm, tests)) for arm in ARMS.values()],
            list(ARMS),
            STRENGTHS,
            X,
            "arm",
            Y,
            [(3, 1)],
        ),
    ]


def page() -> Page:
    first, second, *others = charts()
    return Page(
        "The claims on digits",
        "Which claims hold?",
        ["Forty arms, 8 seeds.", "Intervals are 95%."],
        FINDINGS,
        [Section("Accuracy", "How far they fall.\n\nAnd why.", [first, second]), Section("Strength", "", others)],
        [
            Table(
                "Every arm",
                ["arm", *STRENGTHS],
                [[n, *accuracy(a, np.array(STRENGTHS, float))] for n, a in ARMS.items()],
                "n",
                True,
            )
        ],
        [(name, f'objective = "rwp(gaussian-filter-max)"\nstrength = "constant:{arm}"') for name, arm in ARMS.items()],
        [("seeds", "8"), ("torch", "2.11.0")],
        "incorruptible demo --home runs",
        STRENGTHS,
        "std of the error in max|W_f|",
    )


class Node(NamedTuple):
    name: str
    attributes: dict[str, str | None]
    text: str


class Reader(HTMLParser):
    """The elements of a document, each with all text that is in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.nodes: list[tuple[str, dict[str, str | None], list[str]]] = []
        self.open: list[tuple[str, list[str]]] = []
        self.feed(text)
        self.close()
        assert not self.open, "an element is not closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said: list[str] = []
        self.nodes.append((tag, dict(attrs), said))
        if tag not in ("meta", "link"):
            self.open.append((tag, said))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        for _, said in self.open:
            said.append(data)

    def all(self, *names: str, **wanted: str) -> list[Node]:
        found = (Node(name, attributes, "".join(said)) for name, attributes, said in self.nodes if name in names)
        return [node for node in found if wanted.items() <= node.attributes.items()]


@pytest.fixture(scope="module")
def text() -> str:
    return html(page())


@pytest.fixture(scope="module")
def read(text: str) -> Reader:
    return Reader(text)


def test_equal_pages_are_equal_bytes_below_eight_megabytes(text: str, tmp_path: Path) -> None:
    write(page(), tmp_path / "new" / "index.html")
    assert (tmp_path / "new" / "index.html").read_bytes() == text.encode()
    assert len(text.encode()) < 8e6


def test_the_policy_allows_the_scripts_of_the_page_and_nothing_else(read: Reader) -> None:
    (policy,) = (meta.attributes["content"] for meta in read.all("meta") if "http-equiv" in meta.attributes)
    assert policy is not None and "default-src 'none'" in policy
    scripts = [script.text for script in read.all("script") if "type" not in script.attributes]
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    assert len(scripts) == 2
    assert "script-src 'sha256-{}' 'sha256-{}';".format(*hashes) in policy
    assert [node.name for node in read.all("meta", "script", "style", "title")][:2] == ["meta", "meta"]


def test_nothing_is_loaded(read: Reader) -> None:
    for name, attributes, _ in read.nodes:
        assert not {"src", "srcset", "action", "onclick", "onload"} & attributes.keys()
        href = attributes.get("href")
        assert href is None or href.startswith("#") or (name, href) == ("link", "data:,")
    (style,) = read.all("style")
    assert "url(" not in style.text and "@import" not in style.text


def test_headings_step_down_and_anchors_lead_somewhere(read: Reader) -> None:
    levels = [int(node.name[1]) for node in read.all("h1", "h2", "h3", "h4")]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    ids = [attributes["id"] for _, attributes, _ in read.nodes if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes, _ in read.nodes:
        wanted = [
            attributes.get("href") or "",
            *(f"#{attributes[key]}" for key in ("for", "aria-labelledby") if key in attributes),
        ]
        assert all(one[1:] in ids for one in wanted if one.startswith("#"))
    for name in ("header", "nav", "main", "footer"):
        assert len(read.all(name)) == 1
    assert read.all("html", lang="en")


def test_tables_have_captions_and_scopes(read: Reader) -> None:
    assert len(read.all("table")) == len(read.all("caption")) == 18
    assert all(cell.attributes.get("scope") in ("col", "row", "rowgroup") for cell in read.all("th"))
    assert len(read.all("div", role="region", tabindex="0")) == len(read.all("table"))


def test_the_verdicts_stand_first_as_words(read: Reader, text: str) -> None:
    items = [item.text for item in read.all("li")][:2]
    assert items == [f"{one.name}{one.word}{one.text}" for one in FINDINGS]
    places = [
        text.index(f">{word}<")
        for word in ("The claims on digits", "Which claims hold?", "Contents", "Evidence", "Accuracy")
    ]
    later = [text.index(f">{word}</h2>") for word in ("Strength", "Tables", "Recipes", "How it was made")]
    assert places + later == sorted(places + later)


def test_the_evidence_is_in_points_with_its_interval(read: Reader) -> None:
    rows = [node.text for node in read.all("tr")]
    assert "0.1rwp 0.2 − rwp 0.1+1.23 (+0.83 to +1.63) points<0.00018 × 997supported" in rows
    assert "0.4rwp 0.8 − rwp 0.4−0.60 (−1.00 to −0.20) points0.01008 × 997contradicted" in rows
    assert "0.6rwp 0.6 − warm+0.410 (+0.300 to +0.520) nats0.00048supported" in rows
    assert "all14 arms − 22 arms–undecided" in rows and "loss gap shrinks by 0.013 nats" in rows


def test_the_forest_is_to_scale(text: str) -> None:
    """Over -1 to 1.63 points, between 16 and 184 pixels."""
    drawings = re.findall(r'<svg class="forest.*?</svg>|<svg width.*?</svg>', text[: text.index("</main>")])
    assert len(drawings) == 2 + 3  # two scales, three intervals; a question without a comparison has none
    _, first, second, _, loss = drawings

    def place(value: float) -> str:
        return f"{16 + 168 * (value + 1) / 2.63:.1f}"

    for drawing, low, middle, high in ((first, 0.83, 1.23, 1.63), (second, -1.0, -0.6, -0.2)):
        assert f'x1="{place(low)}" x2="{place(high)}"' in drawing and f'cx="{place(middle)}"' in drawing
        assert f'x1="{place(0)}" x2="{place(0)}"' in drawing
    assert f'cx="{16 + 168 * 0.41 / 0.52:.1f}"' in loss


def test_what_cannot_be_drawn_is_said() -> None:
    rows = [
        row("0.1", "a", "b", 0.0, 0.5, "new", low=0.0, high=0.0),
        row("0.2", "a", "b", 1.0, 0.5, "new", high=None),
        row("0.3", "a", "b", float("inf"), 0.5, "new"),
        row("0.4", "a", "b", 0.0, 0.5, "new", difference=None),
    ]
    read = Reader(html(Page("t", "q", findings=[Finding("C", "new", "x", rows)])))
    assert [node.text for node in read.all("tr")][2:] == [
        "0.1a − b+0.00 (+0.00 to +0.00) points0.50008 × 997new",
        "0.2a − bno finite interval0.50008 × 997new",
        "0.3a − bno finite interval0.50008 × 997new",
        "0.4a − b–new",
    ]
    assert not read.all("svg")


def test_numbers_of_a_column_have_equally_many_places() -> None:
    table = Table(
        "t", ["arm", "a", "b", "c"], [["x", 96.123, 3, 0.5], ["y", -7.0, None, float("nan")], ["z", "-", 12, 0.25]]
    )
    rows = [node.text for node in Reader(html(Page("t", "q", tables=[table]))).all("tr")]
    assert rows == ["armabc", "x96.1230.5000", "y−7.00––", "z-120.2500"]


def test_each_figure_has_its_numbers_beside_it(read: Reader) -> None:
    captions = [node.text for node in read.all("caption")]
    for panel in ("RWP", "SAM"):
        assert f"{panel}: {Y}" in captions
    for strength in STRENGTHS[1:]:
        assert f"{Y} at test strength {strength}" in captions and f"chips at test strength {strength}" in captions
    first = accuracy(ARMS["rwp 0.01"], 0.4)
    assert any(node.text.startswith(f"0.4{first:.4g} ({first - 1:.4g} to {first + 1:.4g})") for node in read.all("tr"))
    second = accuracy(ARMS["rwp 0.01, reversed"], 0.05)
    assert any(f"{second:.1f} *" in node.text for node in read.all("tr"))


def test_an_empty_page_is_a_page() -> None:
    read = Reader(html(Page("t", "q")))
    assert [node.text for node in read.all("h1", "h2", "h3")] == ["t", "Contents"]
    assert not read.all("select", "noscript", "table", "button")
    assert [node.text for node in read.all("p")] == ["q"]
    assert not Reader(html(Page("t", "t"))).all("p")  # a question that is the title is not said twice


def test_without_plotly_there_is_no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    check()
    monkeypatch.setattr("incorruptible.reports.page.document.find_spec", lambda name: None)
    for ask in (check, lambda: html(Page("t", "q"))):
        with pytest.raises(UserError, match=r"the report needs plotly: pip install 'incorruptible\[report\]'"):
            ask()


def test_charts_that_cannot_stand_together_are_refused() -> None:
    chart = Lines("a", "", {"0.1": [Line([0], [0], "x")]}, "x", "y")
    with pytest.raises(ValueError, match="two charts of the page are called 'a'"):
        html(Page("t", "q", sections=[Section("s", "", [chart, chart])]))
    with pytest.raises(ValueError, match="'a' has panels that are not among the page's strengths"):
        html(Page("t", "q", sections=[Section("s", "", [replace(chart, selector=True)])], strengths=["0.2"]))


# In a browser

DESKTOP, PHONE = {"width": 1200, "height": 900}, {"width": 360, "height": 740}


class Shown(NamedTuple):
    """A page that a browser shows, what it asked for and what went wrong."""

    page: Any
    asked: list[str]
    wrong: list[str]

    def settle(self) -> None:
        """Until every chart that is to be seen is drawn at its width."""
        self.until(
            "[...document.querySelectorAll('.plot:not([hidden])')].every(p =>"
            " p.querySelector('.main-svg')?.clientWidth === p.clientWidth)"
        )

    def until(self, truth: str) -> None:
        """Playwright's own waiting evaluates text, which the page's policy forbids."""
        until(lambda: self.page.evaluate(truth) or self.page.wait_for_timeout(20))

    def traces(self, name: str) -> dict[str, set[bool]]:
        """Of each label, which of its traces plotly shows."""
        found: dict[str, set[bool]] = {}
        code = f"document.querySelector('#figure-{name} .plot').data.map(t => [t.meta.panel, t.legendgroup, t.visible])"
        for panel, group, visible in self.page.evaluate(code):
            chosen = self.page.locator("#strength").input_value() if name in ("kappa", "yield") else panel
            if panel == chosen:
                found.setdefault(group, set()).add(visible)
        return found


def open_(browser: Any, path: Path, **options: Any) -> Shown:
    context = browser.new_context(viewport=DESKTOP, reduced_motion="reduce", **options)
    context.set_default_timeout(HANG * 1000)
    shown = Shown(context.new_page(), [], [])

    def ask(route: Any) -> None:
        shown.asked.append(route.request.url)
        if route.request.url == path.as_uri():
            route.continue_()
        else:
            route.abort()

    context.route("**/*", ask)
    shown.page.on("console", lambda message: shown.wrong.append(message.text))
    shown.page.on("pageerror", lambda error: shown.wrong.append(str(error)))
    shown.page.on("dialog", lambda dialog: (shown.wrong.append(dialog.message), dialog.dismiss()))
    shown.page.goto(path.as_uri())
    return shown


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def opened(browser: Any, text: str, tmp_path_factory: pytest.TempPathFactory) -> Shown:
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(text)
    shown = open_(browser, path)
    shown.settle()
    return shown


@pytest.fixture
def shown(opened: Shown) -> Iterator[Shown]:
    """One page for all tests, which takes seconds to open; each finds it as it was, and leaves no error behind."""
    yield opened
    opened.page.set_viewport_size(DESKTOP)
    opened.page.emulate_media(color_scheme="light", media="screen")
    opened.settle()
    assert len(opened.asked) == 1 and opened.wrong == []


def test_a_browser_finds_nothing_wrong_and_asks_for_nothing(shown: Shown) -> None:
    assert len(shown.asked) == 1 and shown.wrong == []
    assert shown.page.locator(".plot .main-svg").count() > 0
    assert shown.page.evaluate("document.querySelectorAll('.modebar').length") == 0


def test_the_policy_stops_what_is_not_of_the_page(browser: Any, opened: Shown) -> None:
    other = open_(browser, Path(opened.page.url.removeprefix("file://")))
    other.page.evaluate(
        "document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.evil = 1'}),"
        " Object.assign(new Image(), {src: 'https://example.org/x.png'}))"
    )
    assert other.page.evaluate("window.evil") is None
    assert other.page.evaluate("fetch('https://example.org').then(() => 'loaded', () => 'refused')") == "refused"
    assert sum("Content Security Policy" in text for text in other.wrong) >= 3
    assert len(other.asked) == 1
    other.page.context.close()


def test_a_legend_hides_and_shows_a_curve_with_its_band(shown: Shown) -> None:
    button = shown.page.locator("#figure-accuracy .legend button").nth(1)
    label = button.text_content()
    assert shown.traces("accuracy")[label] == {True} and button.get_attribute("aria-pressed") == "true"
    button.click()
    assert shown.traces("accuracy").pop(label) == {False} and button.get_attribute("aria-pressed") == "false"
    others = shown.traces("accuracy")
    assert len(others) == 7 and set().union(*(seen for name, seen in others.items() if name != label)) == {True}
    button.click()
    assert shown.traces("accuracy")[label] == {True} and button.get_attribute("aria-pressed") == "true"


def test_a_legend_follows_the_keyboard(shown: Shown) -> None:
    buttons = shown.page.locator("#figure-panels .legend button")
    buttons.nth(0).focus()
    shown.page.keyboard.press("Tab")
    label = buttons.nth(1).text_content()
    assert shown.page.evaluate("document.activeElement.textContent") == label
    assert shown.page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    for key, seen in (("Enter", {False}), ("Space", {True})):
        shown.page.keyboard.press(key)
        assert shown.traces("panels")[label] == seen
        assert shown.page.evaluate("document.activeElement.textContent") == label


def test_the_selector_changes_charts_and_columns(shown: Shown) -> None:
    select = shown.page.get_by_label("Test strength", exact=True)
    for strength, key in (("0.3", "ArrowDown"), ("0.2", "ArrowUp")):
        before = shown.page.locator("#figure-kappa .scatterlayer").inner_html()
        shown.page.locator("#figure-yield .legend button").first.wait_for()
        select.focus()
        shown.page.keyboard.press(key)
        assert select.input_value() == strength
        assert shown.page.locator("#figure-kappa .at-strength").text_content() == f"Test strength {strength}"
        assert set().union(*shown.traces("kappa").values(), *shown.traces("yield").values()) == {True}
        assert shown.page.locator("#figure-kappa .scatterlayer").inner_html() != before
        n = int((accuracy(0.0, float(strength)) + np.random.default_rng(0).normal(size=(3, 160))[0] >= 80).sum())
        assert shown.page.locator("#figure-yield .legend button").first.text_content().endswith(f"({n} of 160)")
        assert shown.page.locator("#figure-yield .annotation", has_text="required 80%").count() == 1
        chosen = shown.page.locator("th.chosen")
        assert chosen.count() == 1 and chosen.text_content() == strength
        assert shown.page.locator("td.chosen").count() == len(ARMS)


def test_a_strength_without_a_panel_is_said(shown: Shown) -> None:
    select, figure = shown.page.get_by_label("Test strength", exact=True), shown.page.locator("#figure-yield")
    select.select_option("0")
    assert figure.get_by_text("Nothing was measured").is_visible() and not figure.locator(".plot").is_visible()
    assert figure.get_by_role("button").count() == 0
    select.select_option("0.2")
    assert not figure.get_by_text("Nothing was measured").is_visible() and figure.locator(".plot").is_visible()


def test_hover_says_the_value_and_its_interval(shown: Shown) -> None:
    point = shown.page.locator("#figure-accuracy .trace .point").nth(5)
    point.scroll_into_view_if_needed()
    box = point.bounding_box()
    shown.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    said = shown.page.locator("#figure-accuracy .hovertext").text_content()
    value = accuracy(ARMS["rwp 0.01"], 0.4)
    assert f"{value:.4g} ({value - 1:.4g} to {value + 1:.4g})" in said and f"{X}: 0.4" in said
    shown.page.mouse.move(0, 0)


def test_a_phone_never_scrolls_sideways(shown: Shown) -> None:
    shown.page.set_viewport_size(PHONE)
    shown.settle()
    shown.page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert shown.page.evaluate("document.documentElement.scrollWidth") <= 360
    wide = "[...document.querySelectorAll('.main-svg')].filter(s => s.getBoundingClientRect().right > 360).length"
    assert shown.page.evaluate(wide) == 0
    # Panels stand one below the other, and axis titles lie within the chart
    tops = "[...document.querySelectorAll('#figure-panels .xtitle, #figure-panels .x2title')].map(t => t.getBoundingClientRect().top)"
    first, second = shown.page.evaluate(tops)
    assert second > first + 200
    boxes = "[...document.querySelectorAll('.xtitle')].map(t => t.getBoundingClientRect())"
    titles = f"{boxes}.filter(b => b.right > 360 || b.left < 0).length"
    assert shown.page.evaluate(titles) == 0
    assert shown.page.evaluate(
        "document.querySelector('.scroll').scrollWidth > document.querySelector('.scroll').clientWidth"
    )
    shown.page.evaluate("document.querySelectorAll('details').forEach(d => d.open = false)")


def test_a_phone_shows_that_a_table_scrolls_and_keeps_its_words_in_view(shown: Shown) -> None:
    hint = "getComputedStyle(document.querySelector('.scroll:has(.evidence)'), '::before').content"
    assert shown.page.evaluate(hint) == "none"  # on a desktop the whole table is seen
    shown.page.set_viewport_size(PHONE)
    shown.until(f"{hint}.includes('Scroll sideways')")
    words = "[...document.querySelectorAll('.evidence td .chip')].map(c => c.getBoundingClientRect())"
    assert shown.page.evaluate(f"{words}.filter(b => b.left < 0 || b.right > 360).length") == 0
    assert shown.page.evaluate(f"{words}.length") == 4


LOOK = """() => [
  getComputedStyle(document.documentElement).backgroundColor,
  document.querySelector('#figure-accuracy .js-line').style.stroke,
  document.querySelector('#figure-accuracy .xtick text').style.fill,
  document.querySelector('#figure-accuracy .legend line').getAttribute('stroke'),
  getComputedStyle(document.querySelector('#figure-yield .bars path')).fill,
]"""


def test_the_night_changes_page_and_charts_at_once(shown: Shown) -> None:
    day = shown.page.evaluate(LOOK)
    stroke = "document.querySelector('#figure-accuracy .js-line').style.stroke"
    shown.page.emulate_media(color_scheme="dark")
    shown.until(f"{stroke} !== '{day[1]}'")
    night = shown.page.evaluate(LOOK)
    assert all(a != b for a, b in zip(day, night, strict=True))
    shown.page.emulate_media(color_scheme="light")
    shown.until(f"{stroke} === '{day[1]}'")
    assert shown.page.evaluate(LOOK) == day


def test_paper_is_light_and_holds_every_figure(shown: Shown) -> None:
    day = shown.page.evaluate(LOOK)
    shown.page.emulate_media(color_scheme="dark", media="print")
    shown.page.set_viewport_size({"width": 672, "height": 980})  # A4 between its margins
    shown.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert shown.page.evaluate(LOOK)[1:] == day[1:] and shown.page.evaluate(LOOK)[0] == "rgb(255, 255, 255)"
    assert shown.page.evaluate("document.documentElement.scrollWidth") <= 672
    sizes = shown.page.evaluate("[...document.querySelectorAll('.chart')].map(c => c.getBoundingClientRect().height)")
    assert len(sizes) == 5 and max(sizes) < 980
    right = "Math.max(...[...document.querySelectorAll('.main-svg')].map(s => s.getBoundingClientRect().right))"
    assert 600 < shown.page.evaluate(right) <= 672
    for unwanted in ("nav", ".strength", "#copy"):
        assert not shown.page.locator(unwanted).is_visible()
    assert shown.page.locator(".recipes pre").first.evaluate("p => p.getBoundingClientRect().height") > 20
    shown.page.evaluate("dispatchEvent(new Event('afterprint'))")


def test_a_screen_reader_hears_headings_figures_and_buttons(shown: Shown) -> None:
    heard = shown.page.locator("body").aria_snapshot()
    for title in ("Evidence", "Accuracy", "Strength", "Tables", "Recipes", "How it was made"):
        assert f'- heading "{title}" [level=2]' in heard
    assert '- heading "The claims on digits" [level=1]' in heard and '- heading "C1 conditional" [level=3]' in heard
    for chart in charts():
        assert f'- figure "{chart.title}"' in heard and f'- img "{chart.alt or chart.title}"' in heard
    assert "rwp 0.01 rwp 0.01" not in heard  # what is drawn is told by its name, and by the table below
    assert heard.count("[pressed]") == 7 + 3 + 2 + 3
    assert '- combobox "Test strength"' in heard and '- button "Copy"' in heard
    for landmark in ("banner", "navigation", "main", "contentinfo"):
        assert f"- {landmark}" in heard


def test_the_first_link_skips_to_the_findings_and_is_seen_while_it_has_the_focus(shown: Shown) -> None:
    links = shown.page.get_by_role("link")
    assert links.first.get_attribute("href") == "#findings"
    places = "document.querySelector('.skip').getBoundingClientRect().right"
    assert shown.page.evaluate(places) < 0
    links.first.focus()
    assert shown.page.evaluate(places) > 0
    links.first.blur()


def test_the_command_is_copied(shown: Shown) -> None:
    shown.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    shown.page.locator("#copy").click()
    shown.page.get_by_role("button", name="Copied").wait_for()
    assert shown.page.evaluate("navigator.clipboard.readText()") == "incorruptible demo --home runs"


@pytest.mark.slow
def test_hostile_text_is_text(browser: Any, tmp_path: Path) -> None:
    curves = {"0": [Line([0, 1], [1, 2], EVIL, mark=1), Line([0, 1], [2, 3], "b")]}
    some = {"0": {EVIL: [1.0, 2.0], "b": [2.0]}}
    sections = [
        Section(
            EVIL,
            EVIL,
            [
                Lines(f"1{EVIL}", EVIL, {EVIL: curves["0"]}, EVIL, EVIL, EVIL, EVIL, levels={EVIL: 1.0}),
                Bars(f"2{EVIL}", EVIL, some, EVIL, EVIL, {EVIL: 1.0}, EVIL, EVIL, selector=True),
                Heat(f"3{EVIL}", EVIL, [[1.0]], [EVIL], [EVIL], EVIL, EVIL, EVIL, [(0, 0)], EVIL, EVIL),
            ],
        )
    ]
    evil = {"question": EVIL, "at": EVIL, "left": EVIL, "right": EVIL, "note": EVIL, "word": EVIL}
    finding = Finding(EVIL, EVIL, EVIL, [row("", "", "", 1.0, 0.1, "") | evil | {"unit": EVIL}])
    tables = [Table(EVIL, [EVIL, "0"], [[EVIL, EVIL]], EVIL, True)]
    whole = Page(EVIL, EVIL, [EVIL], [finding], sections, tables, [(EVIL, EVIL)], [(EVIL, EVIL)], EVIL, ["0"], EVIL)
    write(whole, tmp_path / "evil.html")
    written = (tmp_path / "evil.html").read_text()
    assert (
        "<img" not in written and written.count("</script>") == 3 and json.loads(Reader(written).all("script")[0].text)
    )
    shown = open_(browser, tmp_path / "evil.html")
    shown.settle()
    point = shown.page.locator(".trace .point").first
    point.scroll_into_view_if_needed()
    box = point.bounding_box()
    shown.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert EVIL.split()[0] in shown.page.locator(".hovertext").text_content()
    assert shown.page.locator("h1").text_content() == EVIL
    assert shown.page.locator(".legend button").first.text_content() == EVIL
    assert shown.page.locator("img, .plot a").count() == 0
    assert shown.wrong == [] and len(shown.asked) == 1
    shown.page.context.close()


def test_without_scripts_there_are_findings_and_numbers(browser: Any, opened: Shown) -> None:
    plain = open_(browser, Path(opened.page.url.removeprefix("file://")), java_script_enabled=False)
    assert "The charts need JavaScript" in plain.page.locator("noscript").text_content()
    assert plain.page.get_by_text("+1.23 (+0.83 to +1.63) points").is_visible()
    assert plain.page.locator("details table").count() > 10
    assert not plain.page.locator("#strength").is_visible() and not plain.page.locator("#copy").is_visible()
    plain.page.context.close()
