"""What mkdocs needs to know about this repository when it builds the site (`hooks` in mkdocs.yml).

Pages are written to be read in the repository too, so some link to files outside of docs/, such as
`../../results/README.md` or `../../examples/own_model.py`. Each file that is linked so is taken into
the site, under `repository/`, with the files that it links to in turn, and the links are turned to
these places. A link to a file that does not exist is left as it is: mkdocs warns of it, and the
build, which is strict, fails.
"""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote, unquote

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
LINK = re.compile(r"(\]\()([^)#\s:]+)(#[^)\s]*)?(?=\))")  # a relative one, and its anchor


def placed(page: Path, target: str) -> tuple[Path, PurePosixPath] | None:
    """The file that the link `target` on `page` leads to, and its path in the site; none where
    there is no such file in this repository.
    """
    found = Path(os.path.normpath(page.parent / unquote(target)))
    if not found.is_file() or not found.is_relative_to(ROOT):
        return None
    if found.is_relative_to(DOCS):
        return found, PurePosixPath(found.relative_to(DOCS))
    return found, PurePosixPath("repository", found.relative_to(ROOT))


def on_files(files: Files, config: Any) -> Files:
    """Takes the linked files into the site, and those that they link to in turn."""
    waiting = [Path(file.abs_src_path) for file in files.documentation_pages()]
    while waiting:
        page = waiting.pop()
        for _, target, _ in LINK.findall(page.read_text()) if page.suffix == ".md" else ():
            place = placed(page, target)
            if place is not None and files.get_file_from_path(str(place[1])) is None:
                files.append(File.generated(config, str(place[1]), abs_src_path=str(place[0])))
                waiting.append(place[0])
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Turns every relative link to where its file lies in the site."""
    source, here = Path(page.file.abs_src_path), PurePosixPath(page.file.src_uri).parent

    def turned(match: re.Match[str]) -> str:
        place = placed(source, match[2])
        if place is None:
            return match[0]
        return f"{match[1]}{quote(os.path.relpath(place[1], here))}{match[3] or ''}"

    return LINK.sub(turned, markdown)
