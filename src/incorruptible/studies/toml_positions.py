"""Where each key of a TOML file stands, which the parser of the standard library does not tell."""

from __future__ import annotations

import re

KeyPath = tuple[str | int, ...]
_HEADER = re.compile(r"^\s*(\[\[?)\s*([^\[\]]+?)\s*\]\]?\s*(?:#.*)?$")
_KEY = re.compile(
    r"""^\s*((?:"[^"]*"|'[^']*'|[\w-]+)(?:\s*\.\s*(?:"[^"]*"|'[^']*'|[\w-]+))*)\s*="""
)
_STRING = re.compile(
    r'"""(?:.|\n)*?"""|\'\'\'(?:.|\n)*?\'\'\'|"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\'|#[^\n]*'
)


def toml_positions(text: str) -> dict[KeyPath, int]:
    """The line, from 1, of every table and key: `("arms", 2, "strength")` is the key in the third
    [[arms]].

    Keys inside inline tables have the line of the table.

    >>> toml_positions('title = "a"\\n[[arms]]\\nname = "b"\\n')
    {('title',): 1, ('arms', 0): 2, ('arms', 0, 'name'): 3}
    """
    found: dict[KeyPath, int] = {}
    counts: dict[KeyPath, int] = {}
    table: KeyPath = ()
    depth = 0
    # Brackets and keys in strings and comments do not count, so these are blanked first.
    blank = _STRING.sub(lambda match: re.sub(r"[^\n]", "_", match[0]), text)
    for number, (raw, line) in enumerate(zip(text.split("\n"), blank.split("\n"), strict=True), 1):
        header = _HEADER.match(raw) if depth == 0 and line.lstrip().startswith("[") else None
        if header:
            table = _inside(_parts(header[2]), counts)
            if header[1] == "[[":
                counts[table] = counts.get(table, -1) + 1
                table = (*table, counts[table])
            found.setdefault(table, number)
            continue
        key = _KEY.match(raw) if depth == 0 else None
        if key and line[key.end() - 1] == "=":
            path: KeyPath = table
            for part in _parts(key[1]):
                path = (*path, part)
                found.setdefault(path, number)
        depth += sum(line.count(one) for one in "[{") - sum(line.count(one) for one in "]}")
    return found


def spoken(path: KeyPath, found: dict[KeyPath, int]) -> str:
    """A place in words, with the line of the nearest key or table that has one.

    >>> spoken(("arms", 0, "name", "x"), {("arms", 0, "name"): 3})
    'line 3, arms 1, name.x'
    """
    line = next((found[path[:end]] for end in range(len(path), 0, -1) if path[:end] in found), None)
    words: list[str] = []
    for part in path:
        if isinstance(part, int) and words:
            words[-1] += f" {part + 1}"
        else:
            words.append(str(part))
    grouped = [words[0], ".".join(words[1:])] if len(words) > 1 else words
    return ", ".join([*([f"line {line}"] if line else []), *grouped])


def _parts(key: str) -> KeyPath:
    return tuple(
        part.strip().strip("\"'") for part in re.findall(r'"[^"]*"|\'[^\']*\'|[\w-]+', key)
    )


def _inside(path: KeyPath, counts: dict[KeyPath, int]) -> KeyPath:
    """`path` with the index of the array's last table where a part of it, but the last, is an array
    of tables.
    """
    full: KeyPath = ()
    for place, part in enumerate(path):
        full = (*full, part)
        if place < len(path) - 1 and full in counts:
            full = (*full, counts[full])
    return full
