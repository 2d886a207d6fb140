"""Prepares docstrings for the site (`extensions` of mkdocstrings in mkdocs.yml): their text is Markdown
but for examples at the prompt, which become blocks of code.
"""

from __future__ import annotations

from typing import Any

import griffe


class Prompts(griffe.Extension):
    """Puts paragraphs that begin with >>> into fences."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is None:
            return
        obj.docstring.value = "\n\n".join(
            f"```pycon\n{part}\n```" if part.lstrip().startswith(">>>") else part
            for part in obj.docstring.value.split("\n\n")
        )
