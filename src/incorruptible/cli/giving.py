"""What a verb found: on the screen, as JSON, in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import Mistake
from .terminal import command, put, put_json

__all__ = ["check_output", "give"]


def give(plain: dict[str, Any], text: str, out: Path | None, json_: bool) -> None:
    """`plain` into the file `out`, if one is named; on stdout `plain` as JSON, or `text`."""
    if out is not None:
        from ..records import write

        write(out, {**plain, "command": command()})
    if json_:
        put_json(plain)
    else:
        put(text)


def check_output(path: Path | None, suffixes: tuple[str, ...], force: bool) -> None:
    """Whether a result can be written there, before it is measured."""
    if path is None:
        return
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if path.suffix not in suffixes or path.is_dir() or not folder.is_dir():
        kinds = " or ".join(suffix for suffix in suffixes if suffix)
        raise Mistake(f"{path}: a file that ends in {kinds}, in a folder, is needed.")
    targets = [path] if path.suffix == ".json" else [path.with_suffix(".png"), path.with_suffix(".svg")]
    for one in targets:
        if one.exists() and not force:
            raise Mistake(f"{one} is there already; --force overwrites it.")
