"""Writes the parts of docs/reference/ that follow from the source: the options of each verb, the
entries of a recipe, the fields of corruptions, storages and faults, and the list of Python names.

python scripts/reference_pages.py            # writes the pages
python scripts/reference_pages.py --check    # exit code 1 where a page is not what would be written

A page keeps what stands above its line `<!-- from here on ... -->`; all below is made anew. The texts
come from help texts, docstrings, units and sources, so a page that reads badly is mended there.
`tests/test_docs.py` holds the pages against the source.
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import typer

import incorruptible as inc
from incorruptible import corruptions
from incorruptible.cli import app
from incorruptible.cli.train import ENTRIES
from incorruptible.corruptions.storages import STORAGES
from incorruptible.specs.grammar import written
from incorruptible.training.recipe import Recipe

REFERENCE = Path(__file__).resolve().parents[1] / "docs" / "reference"
MARK = "<!-- from here on written by scripts/reference_pages.py -->"


def cell(text: object) -> str:
    """`text` as a cell of a table: one line, with its bars escaped."""
    return re.sub(r"\s+", " ", str(text)).strip().replace("|", r"\|")


def table(heads: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A Markdown table."""
    heads = list(heads)
    lines = [heads, ["---"] * len(heads), *([cell(one) for one in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def first_sentence(thing: Any) -> str:
    """The first sentence of a docstring."""
    text = (inspect.getdoc(thing) or "").split("\n\n")[0].replace("\n", " ")
    return re.split(r"(?<=[a-z)`\]0-9]\.) (?=[A-Z])", text)[0]


def said(thing: Any) -> str:
    """What a public name is, in a sentence; of a shipped score, what it judges."""
    if isinstance(thing, inc.Score):
        better = "higher" if thing.higher_is_better else "lower"
        return f"The score {thing.name} ({thing.unit}; {better} is better)."
    return first_sentence(thing)


def command_line() -> str:
    """Every verb with its arguments and options."""
    parts = []
    for name, verb in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        verbs = getattr(verb, "commands", None) or {"": verb}
        for sub, command in verbs.items():
            parts.append(f"## incorruptible {name} {sub}".rstrip())
            parts.append(re.sub(r"\s+", " ", inspect.cleandoc(command.help or "")).strip())
            rows = []
            for parameter in command.params:
                if getattr(parameter, "hidden", False):
                    continue
                kind = parameter.param_type_name
                shown = parameter.name if kind == "argument" else ", ".join(parameter.opts)
                default = parameter.default if not callable(parameter.default) else None
                flag = getattr(parameter, "is_flag", False)
                given = "required" if parameter.required else ""
                if not given and not flag and default not in (None, [], ()):
                    given = str(default)
                rows.append((f"`{shown}`", getattr(parameter, "help", "") or "", given))
            parts.append(table(("option", "what it does", "default"), rows))
    return "\n\n".join(parts)


def recipe() -> str:
    """Every entry of a recipe: its option, type and default."""
    options = {entry.name: entry for entry in ENTRIES}
    rows = []
    for field in dataclasses.fields(Recipe):
        entry = options.get(field.name)
        default = "" if field.default is dataclasses.MISSING else written(field.default)
        option = (entry.option or f"--{field.name.replace('_', '-')}") if entry else ""
        text = re.sub(r" ?\[[^\]]*\]\.?$", "", entry.help) if entry else ""
        rows.append((f"`{field.name}`", f"`{option}`" if option else "", default, text))
    return "\n\n".join((table(("entry", "option", "default", "what it is"), rows), *about(Recipe)))


def about(cls: Any) -> list[str]:
    """The paragraphs of a docstring, without its examples."""
    return [part for part in (inspect.getdoc(cls) or "").split("\n\n") if ">>>" not in part]


def members(catalogue: Mapping[str, Callable[..., Any]], examples: Mapping[str, str]) -> str:
    """A section for each member of a catalogue: unit, formula, source, fields, docstring. Members of
    one class that differ in their names alone share a section.
    """
    classes: dict[Any, list[str]] = {}
    for name, maker in catalogue.items():
        kind = getattr(maker, "func", None) or (maker, name)
        classes.setdefault(kind, []).append(name)
    parts = []
    for names in classes.values():
        maker = catalogue[names[0]]
        cls: Any = getattr(maker, "func", maker)
        parts.append("### " + ", ".join(examples.get(name, name) for name in names))
        for key in ("unit", "formula", "source"):
            value = getattr(cls, key, None)
            if isinstance(value, str) and value:
                parts.append(f"{key.capitalize()}: {value}".replace("|", r"\|"))
        parts.extend(about(cls))
        held = dataclasses.fields(cls) if dataclasses.is_dataclass(cls) else ()
        fields = [field for field in held if field.init and not field.metadata.get("named")]
        defaults = [
            f"`{field.name}={written(field.default)}`"
            if field.default is not dataclasses.MISSING
            else f"`{field.name}` (needed)"
            for field in fields
        ]
        parts.append("Fields: " + (", ".join(defaults) or "none") + ".")
    return "\n\n".join(parts)


def catalogue_of_corruptions() -> str:
    """Corruptions, then the storages and faults that `stored(...)` puts together."""
    return "\n\n".join(
        (
            "## Every corruption and its fields",
            members(corruptions.CATALOGUE, corruptions.EXAMPLES),
            "## Storages",
            "What `stored(storage|...)` may begin with: how a weight is held.",
            members(STORAGES, {}),
            "## Faults",
            "What may follow in `stored(storage|fault|fault)`: what happens to what is held.",
            members(corruptions.FAULTS, {}),
        )
    )


ROOMS = {
    "training": "Training",
    "objectives": "Objectives",
    "schedules": "Schedules",
    "corruptions": "Corruptions",
    "evaluation": "Measuring",
    "certificates": "Certificates",
    "tasks": "Tasks and scores",
    "weights": "Arrays and weights",
    "runs": "Runs",
    "reports": "Reports",
    "landscape": "Landscape",
    "statistics": "Statistics",
    "randomness": "Randomness",
    "errors": "Errors",
}


def python() -> str:
    """Every public name of `incorruptible`, by room: its first sentence, then its whole docstring."""
    homes: dict[str, list[tuple[str, str, Any]]] = {room: [] for room in ROOMS}
    for name in dir(inc):
        thing = getattr(inc, name)
        module = getattr(thing, "__module__", "")
        if name.startswith("_") or not module.startswith("incorruptible."):
            continue
        qualified = getattr(thing, "__qualname__", name)
        homes[module.split(".")[1]].append((name, f"{module}.{qualified}", thing))
    parts = []
    for room, title in ROOMS.items():
        if not homes[room]:
            continue
        parts.append(f"## {title}")
        rows = [(f"`inc.{name}`", said(thing)) for name, _, thing in homes[room]]
        parts.append(table(("name", "what it is"), rows))
        for name, path, thing in homes[room]:
            if not (inspect.isclass(thing) or inspect.isfunction(thing)):
                continue  # a value, such as the score `accuracy`
            parts.append(f"::: {path}\n    options:\n      heading: inc.{name}")
    return "\n\n".join(parts)


PAGES: dict[str, Callable[[], str]] = {
    "command-line.md": command_line,
    "recipe.md": recipe,
    "corruptions.md": catalogue_of_corruptions,
    "python.md": python,
}


def made(name: str, make: Callable[[], str]) -> str:
    """The whole page: what stands above its mark today, and what `make` says below."""
    head = (REFERENCE / name).read_text().split(MARK)[0].rstrip()
    return f"{head}\n\n{MARK}\n\n{make().rstrip()}\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=inspect.cleandoc(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--check", action="store_true", help="only say which pages are not current")
    check = parser.parse_args().check
    stale = []
    for name, make in PAGES.items():
        page = REFERENCE / name
        text = made(name, make)
        if page.read_text() != text:
            stale.append(name)
            if not check:
                page.write_text(text)
    print(f"{'not current' if check else 'written'}: {', '.join(stale) or 'none'}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
