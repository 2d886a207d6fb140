"""Where labelled images come from: parquet files, folders of classes, or the Hugging Face hub.

A *source* is a text such as `hf:uoft-cs/cifar100`, `parquet:PATH` or `folder:PATH`. `pictures`
opens a source and returns its parts (train, validation, test), whose images are still encoded.

Relies on: names of files or folders tell the parts ("train", "valid", "test" and the like). Keeps:
files come in a fixed order, so rows do too; an incomplete copy in the hub's cache is refused, since
it would silently give a part of the data; without an answer from the hub, a complete copy is used.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple
from urllib.error import HTTPError
from urllib.request import urlopen

from ...errors import UserError, unknown

PARTS = ("train", "validation", "test")
PATIENCE = 4.0  # seconds that the hub has for an answer
EXTRA = "pip install 'incorruptible[data]'"
_NAMES = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
}
_NAMES |= {"dev": "validation", "test": "test", "testing": "test"}
# a word that names a part, standing alone: "latest" does not name "test"
_PART = re.compile(rf"(?<![a-z])({'|'.join(sorted(_NAMES, key=len, reverse=True))})(?![a-z])")
_FORMATS = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
_LABELS = ("label", "labels", "fine_label")


class Part(NamedTuple):
    """The images of one part of the data: their number, and each one as an encoded file (bytes or a
    path) with its label.
    """

    size: int
    rows: Callable[[], Iterator[tuple[bytes | Path, int]]]


@dataclass(frozen=True)
class Pictures:
    """A source that was opened: its files, the names of its classes (empty if they are not known),
    and its parts.
    """

    files: Sequence[Path]
    classes: Sequence[str]
    parts: dict[str, Part]


def pictures(source: str, image: str = "", label: str = "") -> Pictures:
    """Opens `parquet:PATH`, `folder:PATH` or `hf:OWNER/NAME`. `image` and `label` name the columns
    where this is not plain.

    Raises `UserError` for another kind of source, for a source that is not there, for a hub that
    does not answer in time and has no complete copy in the cache, and for data without training and
    test images.
    """
    kind, colon, where = source.partition(":")
    if not colon or kind not in SOURCES:
        raise UserError(
            f"data {source!r}: give hf:OWNER/NAME (hf:uoft-cs/cifar100), parquet:PATH or "
            "folder:PATH."
            if not colon or not where
            else str(unknown("kind of data", kind, SOURCES))
        )
    if not where:
        raise UserError(
            f"data {source!r}: {kind}:{'OWNER/NAME' if kind == 'hf' else 'PATH'} is needed."
        )
    return SOURCES[kind](where, image, label)


def _parquet(where: str, image: str, label: str) -> Pictures:
    """The .parquet files in a folder. The name of a file or of its folder tells the part, as on the
    hub.
    """
    path = Path(where).expanduser()
    if not path.is_dir():
        what = (
            "is a file; give the folder that holds train and test files"
            if path.is_file()
            else "no such folder"
        )
        raise UserError(f"parquet:{where}: {what}.")
    files = _below(path, {".parquet"})
    if not files:
        raise UserError(f"parquet:{where}: no .parquet file is in that folder.")
    return _tables(
        {file.relative_to(path).as_posix(): file for file in files},
        f"parquet:{where}",
        image,
        label,
    )


def _hub(where: str, image: str, label: str) -> Pictures:
    """The parquet files of a data set on the Hugging Face hub, fetched once into the hub's own
    cache.
    """
    hub = _imported("huggingface_hub", "hf: sources")
    name, _, revision = where.partition("@")
    owner, *rest = name.split("/")
    if not 1 <= len(rest) <= 2:
        raise UserError(
            f"hf:{where}: OWNER/NAME or OWNER/NAME/CONFIG is needed; @REVISION may follow."
        )
    repository, configuration = f"{owner}/{rest[0]}", "".join(rest[1:])
    common = {"repo_id": repository, "repo_type": "dataset", "revision": revision or None}
    wanted: list[str] = []
    try:
        _knock(f"{hub.constants.ENDPOINT}/api/datasets/{repository}")
        names = _listed(hub, repository, revision or None)
        wanted = [one for one in names if one.endswith(".parquet") and _of(one, configuration)]
        if not wanted:
            raise UserError(
                f"hf:{where}: there are no parquet "
                f"files{f' in {configuration}' if configuration else ''}; see whether "
                f"hf:{repository}@refs/convert/parquet has them, or download the data and use "
                "folder:PATH."
            )
        _one_configuration(wanted, where, repository)
        found = {
            one: Path(hub.hf_hub_download(filename=one, etag_timeout=PATIENCE, **common))
            for one in wanted
        }
    except UserError:
        raise
    except (hub.errors.RepositoryNotFoundError, hub.errors.RevisionNotFoundError):
        raise UserError(
            f"hf:{where}: the hub has no such data set or revision, or it is private (hf auth "
            "login)."
        ) from None
    # The hub's client raises the errors of its transport, which differ from version to version.
    except Exception as problem:
        found = _kept(hub, common, configuration)
        # An incomplete copy would silently give a part of the data.
        if not found or not set(wanted) <= set(found) or not _whole(found):
            raise UserError(
                f"hf:{where}: the hub does not answer ({type(problem).__name__}); download the "
                f"data set elsewhere (hf download {repository} --repo-type dataset --local-dir "
                "PATH), and use --data parquet:PATH."
            ) from None
    return _tables(found, f"hf:{where}", image, label)


def _one_configuration(names: Sequence[str], where: str, repository: str) -> None:
    """Raises `UserError` if the files lie in several folders that name no part: each such folder is
    a data set of its own, which the hub calls a configuration.
    """
    folders = {name.partition("/")[0] for name in names if "/" in name}
    several = sorted(one for one in folders if one != "data" and not _PART.search(one.lower()))
    if len(several) > 1:
        raise UserError(
            f"hf:{where}: it has several configurations, {', '.join(several)}; choose one: "
            f"hf:{repository}/{several[0]}."
        )


def _knock(address: str) -> None:
    """Raises `TimeoutError` or another `OSError` if nothing answers at `address` in time. The hub's
    own client would try again and again.
    """
    answers: list[OSError | None] = []

    def ask() -> None:
        try:
            with urlopen(address, timeout=PATIENCE):
                answers.append(None)
        except HTTPError:  # an error of the server is an answer too
            answers.append(None)
        except OSError as problem:
            answers.append(problem)

    # looking up the address of a host has no limit of time, so a thread waits for it
    asking = Thread(target=ask, daemon=True)
    asking.start()
    asking.join(PATIENCE)
    if not answers:
        raise TimeoutError
    if answers[0] is not None:
        raise answers[0]


def _listed(hub: Any, repository: str, revision: str | None) -> list[str]:
    """The names of all files of a data set on the hub."""
    found = hub.HfApi().dataset_info(repository, revision=revision, timeout=PATIENCE)
    return [one.rfilename for one in found.siblings or []]


def _kept(hub: Any, common: dict[str, Any], configuration: str) -> dict[str, Path]:
    """The files of a data set that the hub's cache holds from earlier."""
    try:
        root = Path(hub.snapshot_download(local_files_only=True, **common))
    except Exception:
        return {}
    files = {file.relative_to(root).as_posix(): file for file in sorted(root.rglob("*.parquet"))}
    return {name: file for name, file in files.items() if _of(name, configuration)}


def _of(name: str, configuration: str) -> bool:
    """Whether a file of the hub belongs to a configuration, which is a folder. Without a
    configuration all files do.
    """
    return not configuration or name.startswith(f"{configuration}/")


def _whole(names: Iterable[str]) -> bool:
    """Whether no file is lacking from a numbered series, such as train-00000-of-00002.parquet."""
    there = set(names)
    counted = [match for name in there if (match := re.fullmatch(r"(.*-)(\d+)(-of-(\d+).*)", name))]
    return all(
        f"{one[1]}{place:0{len(one[2])}d}{one[3]}" in there
        for one in counted
        for place in range(int(one[4]))
    )


def _tables(files: dict[str, Path], source: str, image: str, label: str) -> Pictures:
    """Opens parquet files: finds their columns, and checks that every file has them."""
    tables = _imported("pyarrow.parquet", "parquet files")
    grouped = _grouped(files, source)
    first = _opened(tables, next(iter(grouped["train"])))
    pixels, classes_of = _columns(first.schema_arrow, source, image, label)
    parts = {}
    for name, own in grouped.items():
        opened = [_opened(tables, file) for file in own]
        for file, one in zip(own, opened, strict=True):
            if lacking := [
                column for column in (pixels, classes_of) if column not in one.schema_arrow.names
            ]:
                raise UserError(f"{file}: it has no column {lacking[0]!r}.")
        parts[name] = Part(
            sum(one.metadata.num_rows for one in opened), _rows(tables, own, pixels, classes_of)
        )
    classes = _class_names(first.schema_arrow, classes_of)
    return Pictures([file for own in grouped.values() for file in own], classes, parts)


def _opened(tables: Any, file: Path) -> Any:
    """Opens one parquet file. Raises `UserError` if it is none."""
    try:
        return tables.ParquetFile(file)
    except Exception as problem:
        raise UserError(f"{file} cannot be read as parquet: {type(problem).__name__}.") from None


def _rows(
    tables: Any, files: Sequence[Path], image: str, label: str
) -> Callable[[], Iterator[tuple[bytes, int]]]:
    """Returns a function that reads the encoded images and labels row by row, from the first on."""

    def rows() -> Iterator[tuple[bytes, int]]:
        for file in files:
            for batch in tables.ParquetFile(file).iter_batches(256, columns=[image, label]):
                for one, number in zip(
                    batch[image].to_pylist(), batch[label].to_pylist(), strict=True
                ):
                    encoded = one["bytes"] if isinstance(one, dict) else one
                    if encoded is None or number is None:
                        raise UserError(f"{file}: a row has no image in it, or no label.")
                    yield encoded, number

    return rows


def _columns(schema: Any, source: str, image: str, label: str) -> tuple[str, str]:
    """The columns of the encoded images and of the labels, which are whole numbers."""
    types = dict(zip(schema.names, map(str, schema.types), strict=True))
    encoded = [
        name for name, kind in types.items() if re.search(r"(^|bytes: )(large_)?binary", kind)
    ]
    whole = [name for name, kind in types.items() if re.fullmatch(r"u?int\d+", kind)]
    usual = [name for name in _LABELS if name in whole]
    # a column of True and False holds labels only if the user names it
    told = [
        *whole,
        *(name for name, kind in types.items() if kind == "bool"),
    ]
    chosen = []
    for what, given, kind, fit, guessed in (
        ("image", image, "encoded images", encoded, encoded),
        ("label", label, "whole numbers", told, usual[:1] if len(whole) > 1 else whole),
    ):
        if given and given not in types:
            raise UserError(f"{source}: {unknown('column', given, types)}")
        if given and given not in fit:
            there = ", ".join(fit) or "none is there"
            raise UserError(
                f"{source}: {what}={given}: that column holds {types[given]}; one of {kind} is "
                f"needed ({there})."
            )
        if not given and len(guessed) != 1:
            raise UserError(
                f"{source}: which column holds the {what}s? Add {what}=COLUMN; there are: "
                f"{', '.join(types)}."
            )
        chosen.append(given or guessed[0])
    return chosen[0], chosen[1]


def _class_names(schema: Any, label: str) -> list[str]:
    """The names of the classes from the hub's own note in the file; empty if there is no note."""
    try:
        note = json.loads((schema.metadata or {})[b"huggingface"])
        return [str(one) for one in note["info"]["features"][label]["names"]]
    except (KeyError, ValueError, TypeError):
        return []


def _folder(where: str, image: str, label: str) -> Pictures:
    """PATH/train/CLASS/*.png and PATH/test/CLASS/*.png, the layout of torchvision's ImageFolder and
    of the hub's imagefolder.
    """
    if image or label:
        raise UserError(
            f"folder:{where}: only parquet files have columns; in a folder the names of the "
            "subfolders are the labels."
        )
    path = Path(where).expanduser()
    if not path.is_dir():
        raise UserError(f"folder:{where}: no such folder.")
    grouped = _grouped({one.name: one for one in _folders(path)}, f"folder:{where}")
    classes = sorted({one.name for root in grouped["train"] for one in _folders(root)})
    if not classes:
        raise UserError(
            f"folder:{where}: no class has a folder of its own in train; PATH/train/CLASS/*.png is "
            "needed."
        )
    files, parts = [], {}
    for name, roots in grouped.items():
        own: list[tuple[Path, int]] = []
        for root in roots:
            for one in _folders(root):
                if one.name not in classes:
                    raise UserError(
                        f"{one}: no such class is in train, which has: {', '.join(classes[:12])}."
                    )
            for number, each in enumerate(classes):
                own += [(file, number) for file in _below(root / each, _FORMATS)]
        files += [file for file, _ in own]
        parts[name] = Part(len(own), lambda own=own: iter(own))  # type: ignore[misc]
    return Pictures(files, classes, parts)


def _folders(path: Path) -> list[Path]:
    """The folders in a folder, in order. Hidden ones, which notebooks and file managers leave
    behind, do not count.
    """
    return sorted(one for one in path.iterdir() if one.is_dir() and not one.name.startswith("."))


def _below(path: Path, endings: set[str]) -> list[Path]:
    """The files with one of these endings anywhere below a folder, in order. Hidden ones do not
    count (macOS leaves ._NAME.png).
    """
    files = (file for file in path.rglob("*") if file.suffix.lower() in endings and file.is_file())
    return sorted(
        file
        for file in files
        if not any(part.startswith(".") for part in file.relative_to(path).parts)
    )


def _grouped(files: dict[str, Path], source: str) -> dict[str, list[Path]]:
    """Files by part. The last word in a file's path that names a part decides. Raises `UserError`
    if training or test data are missing.
    """
    found: dict[str, list[Path]] = {}
    for name, file in files.items():
        words = _PART.findall(name.lower())
        if words:
            found.setdefault(_NAMES[words[-1]], []).append(file)
    if "test" not in found and "validation" in found:
        # as is usual for ImageNet, whose test labels are not public
        found["test"] = found.pop("validation")
    lacking = [name for name in ("train", "test") if name not in found]
    if lacking:
        shown = ", ".join(list(files)[:6]) or "nothing"
        raise UserError(f"{source}: no {' and no '.join(lacking)} part is there; it holds {shown}.")
    return {name: found[name] for name in PARTS if name in found}


def _imported(module: str, what: str) -> Any:
    """Imports an optional module. Raises `UserError` with the line that installs it."""
    from importlib import import_module

    try:
        found = import_module(module)
        if module == "huggingface_hub":
            import_module("huggingface_hub.errors")
        return found
    except ImportError:
        raise UserError(f"{what} need {module.partition('.')[0]}: {EXTRA}") from None


SOURCES: dict[str, Callable[[str, str, str], Pictures]] = {
    "hf": _hub,
    "parquet": _parquet,
    "folder": _folder,
}
