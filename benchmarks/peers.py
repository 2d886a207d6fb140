"""The peers: other packages that are compared if they are installed, and how to install them."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from functools import cache
from importlib import import_module, metadata
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["PEERS", "ROOT", "Peer", "look_around", "versions"]

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = (ROOT / ".peers", ROOT / ".peers" / "optimizers")


class Peer(NamedTuple):
    """A peer: its name, the package that is imported, and the distribution that is installed."""

    name: str
    package: str
    distribution: str
    line: str

    def bring(self) -> Any:
        """The package; None if it is not installed or does not work here."""
        found = _imported(self.package)
        return None if isinstance(found, Exception) else found

    def lacks(self) -> str:
        """The line for the user: how to install the peer, or why it does not work."""
        found = _imported(self.package)
        if isinstance(found, ModuleNotFoundError) and found.name == self.package:
            return f"{self.name} is not there: {self.line}"
        why = " ".join(f"{type(found).__name__}: {found}".split())
        return f"{self.name} is there and cannot be imported ({why}): {self.line}"


@cache
def _imported(package: str) -> Any:
    """The package, or the exception that its import raised. The import is tried once."""
    try:
        with redirect_stdout(sys.stderr):  # aihwkit-lightning prints what it could not find
            return import_module(package)
    except (
        Exception
    ) as problem:  # another version's own, a library that does not load: the benchmark goes on without it
        return problem


PEERS = {
    "pytorch_optimizer": Peer(
        "pytorch_optimizer",
        "pytorch_optimizer",
        "pytorch-optimizer",
        "pip install --no-deps pytorch-optimizer==4.1.0 (`make bench` does it)",
    ),
    "aihwkit-lightning": Peer(
        "aihwkit-lightning",
        "aihwkit_lightning",
        "aihwkit-lightning",
        "make bench PEERS=install, or pip install --no-deps aihwkit-lightning==2.1.0 tqdm",
    ),
    "CrossSim": Peer(
        "CrossSim",
        "simulator",
        "crosssim",
        "make bench PEERS=install, or pip install --no-deps git+https://github.com/sandialabs/cross-sim@v3.2.0",
    ),
}


def look_around() -> None:
    """Let Python find the packages that `make bench` and `make test-peers` put into .peers, after all others."""
    for folder in FOLDERS:
        if folder.is_dir() and str(folder) not in sys.path:
            sys.path.append(str(folder))


def versions() -> dict[str, str | None]:
    """The version of each peer; None if it is not installed."""
    found: dict[str, str | None] = {}
    for name, peer in PEERS.items():
        try:
            found[name] = metadata.version(peer.distribution)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found
