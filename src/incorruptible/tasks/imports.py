"""Finds which files of a folder a module imports, by reading their sources.

These files decide the numbers of a user's own task, so their contents are part of a run's identity.
The sources are read, instead of asking Python which modules are loaded, because a script that
trains, a process that this script started, and the command line have each loaded other modules for
the same task. Imports inside functions therefore count, whether the function was called or not. An
import by a name that is computed at run time is not seen.

Keeps: no source is executed; every file is listed once, under the name of its module; installed
files are never listed.
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

# Files in these folders have versions, so they do not count even if such a folder lies below the
# folder of a task: installed packages, Python's own modules and this package.
_INSTALLED = [
    Path(__file__).resolve().parents[1],
    *(
        Path(sysconfig.get_path(kind)).resolve()
        for kind in ("stdlib", "platstdlib", "purelib", "platlib")
    ),
]
_SITES = {"site-packages", "dist-packages"}


def imported(module: ModuleType, folder: Path) -> dict[str, Path]:
    """Returns the files in `folder` or below that `module` imports, directly or through other such
    files, each under the name of its module.

    Installed files do not count, and neither do imports that only a type checker sees or that run
    only under `if __name__ == "__main__"`.
    """
    # Python may not yet know a file that was written within the last second
    importlib.invalidate_caches()
    assert module.__file__ is not None
    graph, name = _Graph(folder), module.__name__
    package = name if hasattr(module, "__path__") else name.rpartition(".")[0]
    # Python runs the packages around a module before the module itself.
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
    """Finds the source files of modules: where they were loaded from, or else where Python would
    find them.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._places: dict[str, tuple[Path | None, list[str] | None]] = {}

    def counts(self, file: Path) -> bool:
        """Whether a file lies in the folder or below, and is not installed there."""
        own = {self.folder, *self.folder.parents}
        installed = any(place in file.parents and place not in own for place in _INSTALLED)
        return self.folder in file.parents and not installed and not _SITES & set(file.parts)

    def file(self, name: str) -> Path | None:
        """The source file of a module; None if the module has no source, or if there is no such
        module.
        """
        return self._place(name)[0]

    def package(self, name: str) -> bool:
        """Whether a module is a package."""
        return self._place(name)[1] is not None

    def imports(self, package: str, file: Path) -> list[str]:
        """The full names of all modules that a source in `package` may import.

        `from a import b` gives a and a.b, because b may be a module. `import a.b` gives a and a.b.
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
        """Returns the source file of a module and, if the module is a package, the folders of its
        modules.
        """
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
        """Whether modules of the package `name` may lie in the folder or below."""
        places = [Path(place).resolve() for place in self._place(name)[1] or []]
        return any(
            place == self.folder or self.folder in place.parents or place in self.folder.parents
            for place in places
        )


def _prefixes(name: str) -> list[str]:
    """The packages around a module, and the module itself: a, a.b and a.b.c for a.b.c."""
    parts = name.split(".") if name else []
    return [".".join(parts[:end]) for end in range(1, len(parts) + 1)]


def _parsed(file: Path) -> ast.Module:
    """The parsed source; an empty module if the file is not valid Python for this version."""
    try:
        with warnings.catch_warnings():
            # Warnings here are about the user's source. Where warnings are errors, parsing would
            # fail.
            warnings.simplefilter("ignore")
            return ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return ast.Module([], [])


def _statements(tree: ast.Module, package: str) -> Iterator[tuple[str, list[str]]]:
    """Every import that may run when other code imports this source or calls its functions: the
    full name of the module, and the names that are taken from it.
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
        # the body of such a condition does not run on import, but its `else` does
        todo += (
            node.orelse
            if isinstance(node, ast.If) and _elsewhere(node.test)
            else ast.iter_child_nodes(node)
        )


def _elsewhere(test: ast.expr) -> bool:
    """Whether a condition holds only for a type checker, or only if the file runs as a script."""
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
    """The module that `importlib.import_module("a.b")` or `__import__("a.b")` names; "" for other
    calls, and for a name that is computed.
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
    """The full name of a module that code in `package` names with one dot for each level; "" if
    there are more levels than packages.
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
    """The names that a package lists as `__all__`. `from package import *` imports them, even if
    they are modules.
    """
    for one in tree.body:
        if isinstance(one, ast.Assign) and any(
            getattr(target, "id", "") == "__all__" for target in one.targets
        ):
            with suppress(ValueError):
                return [str(name) for name in ast.literal_eval(one.value)]
    return []
