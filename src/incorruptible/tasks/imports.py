"""Which files of a folder a module imports, read from their sources: what decides the bits of a
task of the user's own.

The sources are read, rather than looking at which modules are loaded: a script that trains, a
process that it started and the command line have each loaded modules of their own, and the task is
the same. So imports inside functions count, whether the function was called or not. What a task
imports by a name that it computes is not seen.
"""

from __future__ import annotations

import ast
import importlib
import sys
import sysconfig
import warnings
from collections.abc import Iterator
from contextlib import suppress
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType

__all__ = ["imported"]

# Installed packages, Python's own modules and this package have versions, and may lie below the
# folder of a task.
_INSTALLED = [
    Path(__file__).resolve().parents[1],
    *(
        Path(sysconfig.get_path(kind)).resolve()
        for kind in ("stdlib", "platstdlib", "purelib", "platlib")
    ),
]
_SITES = {"site-packages", "dist-packages"}


def imported(module: ModuleType, folder: Path) -> dict[str, Path]:
    """The files in `folder` or below that `module` imports, itself or by others of them, each by
    the name of its module.

    Files that are installed do not count, nor what is imported for a type checker or under `if
    __name__ == "__main__"` alone.
    """
    importlib.invalidate_caches()  # a file that was written within the second
    assert module.__file__ is not None
    graph, name = _Graph(folder), module.__name__
    package = name if hasattr(module, "__path__") else name.rpartition(".")[0]
    # Python runs the packages that a module lies in before the module itself.
    above = [one for one in _prefixes(package) if one != name]
    found: dict[str, Path] = {}
    seen, todo = (
        {name, "__main__", "__mp_main__"},
        [*above, *graph.imports(package, Path(module.__file__))],
    )
    while todo:
        one = todo.pop()
        if one in seen or (file := graph.file(one)) is None:
            continue
        seen.add(one)
        if graph.counts(file):
            found[one] = file
        if one in found or one in above:
            todo += graph.imports(one if graph.package(one) else one.rpartition(".")[0], file)
    return found


class _Graph:
    """Where modules lie: as they are loaded, otherwise where Python would find them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._places: dict[str, tuple[Path | None, list[str] | None]] = {}

    def counts(self, file: Path) -> bool:
        """Whether a file lies in the folder or below, and is not installed there."""
        own = {self.folder, *self.folder.parents}
        installed = any(place in file.parents and place not in own for place in _INSTALLED)
        return self.folder in file.parents and not installed and not _SITES & set(file.parts)

    def file(self, name: str) -> Path | None:
        """The source of a module; None where it has none, or there is no such module."""
        return self._place(name)[0]

    def package(self, name: str) -> bool:
        """Whether a module is a package."""
        return self._place(name)[1] is not None

    def imports(self, package: str, file: Path) -> list[str]:
        """The full names of what a source in `package` imports: of `from a import b` a and a.b,
        which may be a module, and of `import a.b` a, too.
        """
        full: list[str] = []
        for base, names in _statements(_parsed(file), package):
            full.append(base)
            if "*" in names and (source := self.file(base)) is not None and self.package(base):
                names = [*names, *_listed(_parsed(source))]
            full += [f"{base}.{one}" for one in names if one != "*"]
        return [one for name in full for one in _prefixes(name)]

    def _place(self, name: str) -> tuple[Path | None, list[str] | None]:
        if name not in self._places:
            self._places[name] = self._found(name)
        return self._places[name]

    def _found(self, name: str) -> tuple[Path | None, list[str] | None]:
        """The source file of a module and, of a package, the folders of its modules."""
        if (loaded := sys.modules.get(name)) is not None:
            file, paths = getattr(loaded, "__file__", None), getattr(loaded, "__path__", None)
        else:
            parent = name.rpartition(".")[0]
            paths = self._place(parent)[1] if parent else None
            if name in sys.builtin_module_names or (parent and not (paths and self._near(parent))):
                return None, None
            spec = None
            with suppress(ImportError, ValueError):
                spec = PathFinder.find_spec(name, paths)
            if spec is None:
                return None, None
            file, paths = (
                spec.origin if spec.has_location else None,
                spec.submodule_search_locations,
            )
        source = Path(file).resolve() if file and str(file).endswith(".py") else None
        return source if source and source.is_file() else None, None if paths is None else list(
            paths
        )

    def _near(self, name: str) -> bool:
        """Whether modules of that package may lie in the folder or below."""
        places = [Path(place).resolve() for place in self._place(name)[1] or []]
        return any(
            place == self.folder or self.folder in place.parents or place in self.folder.parents
            for place in places
        )


def _prefixes(name: str) -> list[str]:
    """The packages that a module lies in, and the module: a, a.b and a.b.c of a.b.c."""
    parts = name.split(".") if name else []
    return [".".join(parts[:end]) for end in range(1, len(parts) + 1)]


def _parsed(file: Path) -> ast.Module:
    """The source; an empty one where it is no Python of this version."""
    try:
        with warnings.catch_warnings():
            # About the source; where they are errors, it would not be parsed.
            warnings.simplefilter("ignore")
            return ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return ast.Module([], [])


def _statements(tree: ast.Module, package: str) -> Iterator[tuple[str, list[str]]]:
    """Every import that may run when others import or call what a source holds: a module's full
    name, and the names from it.
    """
    todo: list[ast.AST] = [tree]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Import):
            yield from ((alias.name, []) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if base := _absolute("." * node.level + (node.module or ""), package):
                yield base, [alias.name for alias in node.names]
        elif isinstance(node, ast.Call) and (base := _absolute(_by_name(node), package)):
            yield base, []
        todo += (
            node.orelse
            if isinstance(node, ast.If) and _elsewhere(node.test)
            else ast.iter_child_nodes(node)
        )


def _elsewhere(test: ast.expr) -> bool:
    """Whether a condition holds only for a type checker, or only where the file is run as a
    script.
    """
    if (
        isinstance(test, ast.Compare)
        and len(test.comparators) == 1
        and isinstance(test.ops[0], ast.Eq)
    ):
        sides = {
            getattr(side, "id", getattr(side, "value", None))
            for side in (test.left, test.comparators[0])
        }
        return sides == {"__name__", "__main__"}
    return "TYPE_CHECKING" in (getattr(test, "id", ""), getattr(test, "attr", ""))


def _by_name(call: ast.Call) -> str:
    """The module that `importlib.import_module("a.b")` and its like name; "" for other calls, and
    for a name that is computed.
    """
    called = getattr(call.func, "id", getattr(call.func, "attr", ""))
    first = call.args[0] if call.args else None
    if (
        called in ("import_module", "__import__")
        and isinstance(first, ast.Constant)
        and isinstance(first.value, str)
    ):
        return first.value
    return ""


def _absolute(text: str, package: str) -> str:
    """The full name of a module that is named from within `package`, with a dot in front for each
    level; "" where there is none.
    """
    name = text.lstrip(".")
    level = len(text) - len(name)
    if level == 0:
        return name
    parts = package.split(".") if package else []
    return (
        ".".join([*parts[: len(parts) - level + 1], *([name] if name else [])])
        if level <= len(parts)
        else ""
    )


def _listed(tree: ast.Module) -> list[str]:
    """What a package lists as `__all__`, which `from package import *` imports, modules
    included.
    """
    for one in tree.body:
        if isinstance(one, ast.Assign) and any(
            getattr(target, "id", "") == "__all__" for target in one.targets
        ):
            with suppress(ValueError):
                return [str(name) for name in ast.literal_eval(one.value)]
    return []
