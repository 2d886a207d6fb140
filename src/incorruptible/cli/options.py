"""Options that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["Also", "Debug", "Device", "Force", "Home", "Json", "Protect", "Seed", "Weights"]

Home = Annotated[Path, typer.Option("--home", help="Folder for runs and results.")]
Seed = Annotated[int, typer.Option("--seed", help="Seed of everything that is random.", min=0)]
Device = Annotated[str, typer.Option("--device", help="cpu, cuda or cuda:N.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite what is there.")]
Weights = Annotated[
    Path | None, typer.Option("--weights", help="Weights for the task's model: .safetensors or a state_dict.")
]
Also = Annotated[list[str] | None, typer.Option("--also", help="Parameters to perturb as well (pattern).")]
Protect = Annotated[list[str] | None, typer.Option("--protect", help="Parameters to keep digital (pattern).")]
