"""Images from parquet files, folders and the hub: decoded once, augmented by name, and every command on them."""

from __future__ import annotations

import errno
import io
import json
import math
import os
import re
import shutil
import socket
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from cifar import CIFAR, needs_cifar
from incorruptible import tasks
from incorruptible.cli import run as run_command
from incorruptible.errors import UserError
from incorruptible.files import records
from incorruptible.runs import MeasurePlan, measured, open_run, train
from incorruptible.studies.spec import load as load_study
from incorruptible.tasks.data import Augmentation, Batches, Images, batches, fingerprint
from incorruptible.tasks.data import pictures as opened
from incorruptible.tasks.data.decoded import decoded
from incorruptible.tasks.data.decoded import folder as cache
from incorruptible.training.recipe import Probe, parse
from typing_commands import Type, typing
from waiting import HANG

pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install 'incorruptible[data]'")
pq = pytest.importorskip("pyarrow.parquet")
Image = pytest.importorskip("PIL.Image", reason="Pillow is not installed: pip install 'incorruptible[data]'")

SIZE = 16


def picture(label: int, place: int, mode: str = "RGB", size: int = SIZE) -> Any:
    """A picture whose colour says its label, with noise of its own."""
    source = np.random.default_rng([label, place])
    shape = (size, size, 3) if mode == "RGB" else (size, size)
    middle = np.array([40 + 60 * label, 200 - 60 * label, 90])[: 3 if mode == "RGB" else 1]
    return Image.fromarray(np.clip(source.normal(middle, 25, shape), 0, 255).astype(np.uint8))


def encoded(image: Any, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def table(path: Path, count: int, start: int = 0, **columns: str) -> None:
    """A parquet file in the layout of the hub."""
    names = {"image": "img", "label": "label", **columns}
    labels = [place % 3 for place in range(count)]
    images = [{"bytes": encoded(picture(label, start + i)), "path": None} for i, label in enumerate(labels)]
    note = {"info": {"features": {names["label"]: {"names": ["red", "green", "blue"], "_type": "ClassLabel"}}}}
    made = pa.table({names["image"]: images, names["label"]: pa.array(labels, pa.int64())})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(made.replace_schema_metadata({"huggingface": json.dumps(note)}), path, row_group_size=40)


@pytest.fixture
def type_(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Type:
    return typing(monkeypatch, capsys)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INCORRUPTIBLE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def parquet(tmp_path: Path) -> Path:
    """120 training images in two files, 30 test images."""
    root = tmp_path / "colours"
    table(root / "data" / "train-00000-of-00002.parquet", 90)
    table(root / "data" / "train-00001-of-00002.parquet", 30, start=90)
    table(root / "data" / "test-00000-of-00001.parquet", 30, start=1000)
    return root


def task_of(path: Path, more: str = ":network=mlp:validation=30") -> str:
    return f"images(parquet:{path}){more}"


# ---- decoding


def test_parquet_is_read_in_its_order_to_the_byte(parquet: Path) -> None:
    found = decoded(f"parquet:{parquet}")
    pixels, labels = found.parts["train"]
    assert found.classes == ("red", "green", "blue") and pixels.shape == (120, 3, SIZE, SIZE)
    assert labels.tolist() == [i % 3 for i in range(90)] + [i % 3 for i in range(30)]
    for place in (0, 41, 89, 90, 119):
        want = np.asarray(picture(int(labels[place]), place)).transpose(2, 0, 1)
        assert np.array_equal(pixels[place].numpy(), want), place


def test_images_are_decoded_once_and_again_when_a_file_changes(
    parquet: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded(f"parquet:{parquet}")
    assert "decoding 150 images" in capsys.readouterr().err
    with monkeypatch.context() as patched:
        patched.setattr(Image, "open", lambda *a: pytest.fail("an image was decoded again"))
        again = decoded(f"parquet:{parquet}")
    assert capsys.readouterr().err == "" and len(again.parts["test"][1]) == 30
    table(parquet / "data" / "test-00000-of-00001.parquet", 33, start=2000)
    assert len(decoded(f"parquet:{parquet}").parts["test"][1]) == 33
    assert not [one for one in (cache() / "images").iterdir() if one.name.startswith(".")]


def test_what_is_written_to_decoded_images_stays_in_the_process(parquet: Path) -> None:
    first = decoded(f"parquet:{parquet}").parts["train"][0]
    kept = first.clone()
    first.zero_()
    assert torch.equal(decoded(f"parquet:{parquet}").parts["train"][0], kept)


def test_a_torn_cache_says_what_to_delete(parquet: Path) -> None:
    decoded(f"parquet:{parquet}")
    (place,) = (cache() / "images").iterdir()
    (place / "train.pixels.npy").write_bytes(b"torn")
    with pytest.raises(UserError, match=r"torn .* delete it"):
        decoded(f"parquet:{parquet}")


def test_a_cache_that_lost_its_note_says_what_to_delete(parquet: Path) -> None:
    decoded(f"parquet:{parquet}")
    next((cache() / "images").rglob("about.json")).unlink()
    with pytest.raises(UserError, match=r"torn .* delete it"):
        decoded(f"parquet:{parquet}")


def test_a_full_disk_is_told_before_anything_is_decoded(parquet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(
        OSError, match=r"No space left on device: '.*\.npy'"
    ):  # which the command line turns into a line of its own
        decoded(f"parquet:{parquet}")
    assert not list((cache() / "images").iterdir())


def test_a_part_is_told_by_a_whole_word(tmp_path: Path) -> None:
    table(tmp_path / "d" / "train_of_the_greatest_contest.parquet", 6)
    table(tmp_path / "d" / "my-test.parquet", 3)
    parts = decoded(f"parquet:{tmp_path / 'd'}").parts
    assert {name: len(labels) for name, (_, labels) in parts.items()} == {"train": 6, "test": 3}


def test_a_cache_that_cannot_be_written_says_how_to_move_it(
    parquet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("INCORRUPTIBLE_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match="INCORRUPTIBLE_CACHE=PATH"):
        decoded(f"parquet:{parquet}")


@pytest.fixture
def pictures_in_folders(tmp_path: Path) -> Path:
    root = tmp_path / "folders"
    for part, count in (("train", 12), ("val", 4), ("test", 6)):
        for label, name in enumerate(("cat", "dog")):
            for place in range(count):
                file = root / part / name / f"{place:03}.{'png' if place % 2 else 'jpg'}"
                file.parent.mkdir(parents=True, exist_ok=True)
                picture(label, place).save(file)
    return root


def test_folders_of_classes(pictures_in_folders: Path) -> None:
    found = decoded(f"folder:{pictures_in_folders}")
    assert found.classes == ("cat", "dog")
    assert {name: labels.tolist() for name, (_, labels) in found.parts.items()} == {
        "train": [0] * 12 + [1] * 12,
        "validation": [0] * 4 + [1] * 4,
        "test": [0] * 6 + [1] * 6,
    }
    assert np.array_equal(found.parts["train"][0][1].numpy(), np.asarray(picture(0, 1)).transpose(2, 0, 1))


def test_hidden_files_and_folders_are_no_images(pictures_in_folders: Path, parquet: Path) -> None:
    train = pictures_in_folders / "train"
    (train / ".ipynb_checkpoints").mkdir()
    (train / "cat" / ".ipynb_checkpoints").mkdir()
    picture(0, 0).save(train / "cat" / ".ipynb_checkpoints" / "000.png")
    (train / "cat" / "._001.png").write_bytes(b"of macOS")
    (parquet / "._train-00000.parquet").write_bytes(b"of macOS")
    found = decoded(f"folder:{pictures_in_folders}")
    assert found.classes == ("cat", "dog") and len(found.parts["train"][1]) == 24
    assert "train" in decoded(f"parquet:{parquet}").parts


def test_a_home_folder_may_be_written_as_a_tilde(pictures_in_folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(pictures_in_folders.parent))
    assert decoded("folder:~/folders").classes == ("cat", "dog")
    assert tasks.with_data("images", "folder:~/folders") == f"images(folder:{pictures_in_folders.resolve()})"


def test_an_own_validation_part_is_used_as_it_is(pictures_in_folders: Path) -> None:
    task = tasks.load(f"images(folder:{pictures_in_folders}):network=mlp")
    assert (len(task.train), len(task.validation), len(task.test)) == (24, 8, 12)


def test_sizes_and_channels(pictures_in_folders: Path, tmp_path: Path) -> None:
    root = f"folder:{pictures_in_folders}"
    picture(0, 5, "L").save(pictures_in_folders / "train" / "dog" / "grey.png")  # among coloured ones
    grey = decoded(root).parts["train"][0][-1]
    assert all(np.array_equal(channel.numpy(), np.asarray(picture(0, 5, "L"))) for channel in grey)
    picture(0, 5, "L").save(pictures_in_folders / "train" / "cat" / "000.jpg", quality=95)  # the first of all
    assert decoded(root).parts["train"][0].shape == (25, 3, 16, 16)
    picture(0, 6, size=20).save(pictures_in_folders / "train" / "dog" / "large.png")
    with pytest.raises(UserError, match=r"16 x 16 pixels and 20 x 20 pixels; .* images:size=32"):
        decoded(root)
    assert decoded(root, size=8).parts["test"][0].shape == (12, 3, 8, 8)
    only = tmp_path / "grey"
    for part in ("train", "test"):
        for label, name in enumerate("ab"):
            (only / part / name).mkdir(parents=True)
            for place in range(5):
                picture(label, place, "L").save(only / part / name / f"{place}.png")
    task = tasks.load(f"images(folder:{only}):network=conv:validation=2")
    assert task.part("test").pixels.shape[1] == 1 and task.model()(torch.zeros(1, 1, 16, 16)).shape == (1, 2)


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_coloured_image_may_come_after_grey_ones(part: str, tmp_path: Path) -> None:
    """In the same part or in a later one: all have three channels then, and the grey ones keep their pixels."""
    for name in ("train", "test"):
        for label, kind in enumerate("ab"):
            (tmp_path / "d" / name / kind).mkdir(parents=True)
            mode = "RGB" if (name, kind) == (part, "b") else "L"
            picture(label, 3, mode).save(tmp_path / "d" / name / kind / "0.png")
    found = decoded(f"folder:{tmp_path / 'd'}").parts
    assert all(pixels.shape == (2, 3, SIZE, SIZE) for pixels, _ in found.values())
    assert np.array_equal(found[part][0][1].numpy(), np.asarray(picture(1, 3)).transpose(2, 0, 1))
    assert all(np.array_equal(channel.numpy(), np.asarray(picture(0, 3, "L"))) for channel in found["train"][0][0])


# ---- what is wrong with a source


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("cifar10", "hf:OWNER/NAME"),
        ("parqet:x", "Did you mean 'parquet'?"),
        ("parquet:", "PATH is needed"),
        ("parquet:/nowhere", "no such folder"),
        ("folder:/nowhere", "no such folder"),
        ("hf:cifar100", "OWNER/NAME or OWNER/NAME/CONFIG is needed"),
    ],
)
def test_a_mistyped_source(source: str, said: str) -> None:
    with pytest.raises(UserError) as problem:
        decoded(source)
    assert said in str(problem.value) and "\n" not in str(problem.value)


def test_parquet_without_a_test_part(tmp_path: Path) -> None:
    table(tmp_path / "d" / "train.parquet", 5)
    with pytest.raises(UserError, match=r"no test part is there; it holds train\.parquet"):
        decoded(f"parquet:{tmp_path / 'd'}")
    with pytest.raises(UserError, match="is a file; give the folder"):
        decoded(f"parquet:{tmp_path / 'd' / 'train.parquet'}")


def test_columns_are_asked_for_where_they_are_not_plain(tmp_path: Path) -> None:
    for part in ("train", "test"):
        labels = pa.array([0, 1] * 4)
        images = [encoded(picture(place % 2, place)) for place in range(8)]
        made = pa.table({"picture": images, "kind": labels, "age": labels})
        (tmp_path / "d").mkdir(exist_ok=True)
        pq.write_table(made, tmp_path / "d" / f"{part}.parquet")
    source = f"parquet:{tmp_path / 'd'}"
    with pytest.raises(
        UserError, match=r"which column holds the labels\? Add label=COLUMN; there are: picture, kind, age"
    ):
        decoded(source)
    with pytest.raises(UserError, match=rf"{re.escape(source)}: No column 'knid' here. Did you mean 'kind'"):
        decoded(source, label="knid")
    with pytest.raises(
        UserError, match=r"label=picture: that column holds binary; one of whole numbers is needed \(kind, age\)"
    ):
        decoded(source, label="picture")
    with pytest.raises(
        UserError, match=r"image=age: that column holds int64; one of encoded images is needed \(picture\)"
    ):
        decoded(source, image="age", label="kind")
    assert decoded(source, label="kind").classes == ("0", "1")


def test_images_that_are_none(tmp_path: Path) -> None:
    for part, image in (("train", b"no image"), ("test", b"no image")):
        (tmp_path / "d").mkdir(exist_ok=True)
        pq.write_table(pa.table({"img": [image], "label": [0]}), tmp_path / "d" / f"{part}.parquet")
    with pytest.raises(UserError, match="cannot be decoded"):
        decoded(f"parquet:{tmp_path / 'd'}")
    assert not list((cache() / "images").iterdir())  # nothing half done stays
    (tmp_path / "d" / "train.parquet").write_text("no parquet")
    with pytest.raises(UserError, match="cannot be read as parquet"):
        decoded(f"parquet:{tmp_path / 'd'}")


def test_images_without_a_label(tmp_path: Path) -> None:
    for part in ("train", "test"):
        (tmp_path / "d").mkdir(exist_ok=True)
        made = pa.table({"img": [encoded(picture(0, 0))] * 2, "label": [0, -1 if part == "test" else 1]})
        pq.write_table(made, tmp_path / "d" / f"{part}.parquet")
    with pytest.raises(UserError, match="some images of the part test have no label"):
        decoded(f"parquet:{tmp_path / 'd'}")


# ---- the hub


class Hub:
    """A stand-in for huggingface_hub's two calls, on files of a folder."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
        hub = pytest.importorskip("huggingface_hub")
        self.asked: list[str] = []

        class Api:
            def dataset_info(api, repo: str, revision: str | None, timeout: float) -> Any:
                assert timeout < 5
                self.asked.append(f"{repo}@{revision}")
                names = sorted(file.relative_to(root).as_posix() for file in root.rglob("*.parquet"))
                return type("Info", (), {"siblings": [type("One", (), {"rfilename": name}) for name in names]})

        monkeypatch.setattr(hub, "HfApi", Api)
        monkeypatch.setattr(opened, "_knock", lambda address: None)
        monkeypatch.setattr(hub, "hf_hub_download", lambda filename, **_: str(root / filename))


def test_the_hub_gives_what_its_files_give(parquet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = Hub(monkeypatch, parquet)
    here, there = decoded(f"parquet:{parquet}"), decoded("hf:us/colours@abc")
    assert hub.asked == ["us/colours@abc"] and here.classes == there.classes
    assert all(torch.equal(here.parts[part][0], there.parts[part][0]) for part in here.parts)
    with pytest.raises(UserError, match="no parquet files in other"):
        decoded("hf:us/colours/other")


def test_a_configuration_of_the_hub_is_a_whole_name(
    parquet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "several"
    for name in ("small", "small-grey"):
        shutil.copytree(parquet, root / name)
    Hub(monkeypatch, root)
    parts = decoded("hf:us/colours/small").parts
    assert len(parts["train"][1]) == len(decoded(f"parquet:{parquet}").parts["train"][1])

    with pytest.raises(UserError, match=r"several configurations, small, small-grey; choose one: hf:us/colours/small"):
        decoded("hf:us/colours")


@pytest.mark.parametrize("listing", ["answers", "fails"])
def test_what_the_hub_sent_of_a_data_set_in_part_is_not_taken_for_all(
    listing: str, parquet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub, kept, there = Hub(monkeypatch, tmp_path / "all"), tmp_path / "kept", tmp_path / "all"
    train = next(parquet.glob("**/train*.parquet"))
    test = next(parquet.glob("**/test*.parquet"))
    for folder, count in ((there, 2), (kept, 1)):
        folder.mkdir()
        for place in range(count):
            shutil.copy(train, folder / f"train-{place:05}-of-00002.parquet")
        shutil.copy(test, folder / "test-00000-of-00001.parquet")

    def breaks(**_: Any) -> str:
        raise OSError("cut off")

    module = sys.modules["huggingface_hub"]
    monkeypatch.setattr(module, "hf_hub_download", breaks)
    monkeypatch.setattr(module, "snapshot_download", lambda **_: str(kept))
    if listing == "fails":
        monkeypatch.setattr(opened, "_knock", breaks_at_once)
    with pytest.raises(UserError, match="the hub does not answer"):
        decoded("hf:us/colours")
    shutil.copy(train, kept / "train-00001-of-00002.parquet")
    assert "train" in decoded("hf:us/colours").parts
    assert bool(hub.asked) is (listing == "answers")


def breaks_at_once(address: str) -> None:
    raise TimeoutError


@pytest.mark.parametrize("answer", ["refuses", "is silent", "has no address"])
def test_a_hub_that_cannot_be_reached_is_asked_once_and_given_up_within_five_seconds(
    answer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, type_: Type
) -> None:
    """The hub's own client, which would ask again and again for much longer, is not called at all."""
    hub = pytest.importorskip("huggingface_hub")
    constants = pytest.importorskip("huggingface_hub.constants")
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
    monkeypatch.setattr(hub, "HfApi", lambda: pytest.fail("the hub's client was called"))
    assert opened.PATIENCE < 5
    monkeypatch.setattr(opened, "PATIENCE", 0.2)
    asked, found = [], threading.Event()
    real = opened.urlopen

    def ask(address: str, timeout: float) -> Any:
        asked.append(timeout)
        if answer == "has no address":  # looking a name up may take minutes, whatever the limit is
            found.wait(HANG)
        return real(address, timeout=timeout)

    monkeypatch.setattr(opened, "urlopen", ask)
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        if answer == "refuses":
            server.close()
        done = type_("train", "--data", "hf:uoft-cs/cifar100", "--epochs", "1", "--home", tmp_path / "runs")
        found.set()
    assert done.code == 2 and len(done.err.splitlines()) == 1, done.err
    assert "the hub does not answer" in done.err and "--data parquet:PATH" in done.err
    assert asked == [0.2]


# ---- augmentation


def plain(count: int = 6, size: int = 8, seed: int = 0) -> Images:
    source = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (count, 3, size, size), generator=source, dtype=torch.uint8)
    return Images(pixels, torch.arange(count) % 2, torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.2, 0.25, 0.5]))


def augmented(
    images: Images, augmentation: Augmentation, size: int = 4, order: tuple[Any, ...] = (1, "e")
) -> list[Any]:
    own = Images(images.pixels, images.labels, images.mean, images.std, augmentation)
    return list(own.batches(size, order, augmented=True))


def test_pixels_are_normalised_by_hand() -> None:
    images = plain()
    found = torch.cat([batch[0] for batch in batches(images, 4)])
    mean, std = (one[None, :, None, None] for one in (images.mean, images.std))
    assert torch.allclose(found, (images.pixels / 255 - mean) / std, atol=1e-6)
    assert found.dtype == torch.float32


def test_a_batch_costs_as_many_operations_whatever_its_size() -> None:
    """Crop, flip and cutout move all images of a batch at once; an operation for each image would cost more than a training step."""

    class Counted(TorchDispatchMode):
        operations = 0

        def __torch_dispatch__(self, operation: Any, types: Any, values: Any = (), options: Any = None) -> Any:
            self.operations += 1
            return operation(*values, **(options or {}))

    images = plain(256)
    own = Images(images.pixels, images.labels, images.mean, images.std, Augmentation(crop=2, flip=True, cutout=2))
    found = []
    for size in (16, 128):
        source = iter(own.batches(size, (1, "e"), augmented=True))
        next(source)  # which draws the order of all images
        with Counted() as counted:
            next(source)
        found.append(counted.operations)
    assert found[0] == found[1] < 100


def test_batches_come_in_channels_last_memory_and_in_the_order_of_tensors() -> None:
    images = plain()
    batch = next(iter(batches(images, 4)))
    assert batch[0].is_contiguous(memory_format=torch.channels_last)
    want = [labels.tolist() for _, labels in batches((images.pixels, images.labels), 4, (3, "order"))]
    assert [labels.tolist() for _, labels in batches(images, 4, (3, "order"))] == want
    assert len(batches(images, 4)) == 2  # type: ignore[arg-type]


def by_hand(images: Images, augmentation: Augmentation, order: tuple[Any, ...]) -> Tensor:
    """Image by image, with loops."""
    height, width = images.pixels.shape[2:]
    drawn = augmentation.drawn(len(images), height, width, order)
    found = torch.zeros(images.pixels.shape)
    for n in range(len(images)):
        up, left, mirror, row, column = drawn[n].tolist()
        for y in range(height):
            for x in range(width):
                source = width - 1 - x if mirror and augmentation.flip else x
                j, i = y + up - augmentation.crop, source + left - augmentation.crop
                inside = 0 <= j < height and 0 <= i < width
                pixel = images.pixels[n, :, j, i] if inside else torch.zeros(3)
                value = (pixel / 255 - images.mean) / images.std
                low = augmentation.cutout // 2
                cut = 0 <= y - row + low < augmentation.cutout and 0 <= x - column + low < augmentation.cutout
                found[n, :, y, x] = 0 if cut else value
    return found


@pytest.mark.parametrize(
    "augmentation",
    [Augmentation(crop=2), Augmentation(flip=True), Augmentation(cutout=3), Augmentation(crop=3, flip=True, cutout=4)],
)
def test_augmentation_by_hand(augmentation: Augmentation) -> None:
    images = plain(9)
    found = torch.cat([batch[0] for batch in augmented(images, augmentation, order=(1, "e"))])
    places = torch.cat(list(Batches((images.labels,), 4, (1, "e")).places()))  # type: ignore[arg-type]
    assert torch.allclose(found, by_hand(images, augmentation, (1, "e"))[places], atol=1e-6)


def test_each_image_is_augmented_by_itself_and_by_name_alone() -> None:
    images, augmentation = plain(40), Augmentation(crop=4, flip=True)
    drawn = augmentation.drawn(40, 8, 8, (1, "e"))
    assert len({tuple(row[:3].tolist()) for row in drawn}) > 20  # of 162 possible ones
    one, same, other = (augmented(images, augmentation, 40, order) for order in ((1, "e"), (1, "e"), (2, "e")))
    assert torch.equal(one[0][0], same[0][0]) and not torch.equal(one[0][0], other[0][0])
    small = torch.cat([batch[0] for batch in augmented(images, augmentation, 7)])
    assert torch.equal(one[0][0], small)  # whatever the size of batches


def test_draws_are_even_over_all_shifts() -> None:
    """A chi-square of 9 shifts over 9,000 images; 26.1 is exceeded with probability 1e-3, and the name is fixed."""
    drawn = Augmentation(crop=4).drawn(9000, 8, 8, ("even",))
    for column, most in ((0, 9), (1, 9), (2, 2), (3, 8)):
        counts = torch.bincount(drawn[:, column], minlength=most).double()
        assert len(counts) == most and ((counts - 9000 / most) ** 2 / (9000 / most)).sum() < 26.1


def test_only_training_is_augmented(parquet: Path) -> None:
    task = tasks.load(task_of(parquet, ":network=mlp:validation=30:crop=4"))
    looked = torch.cat([batch[0] for batch in batches(task.train, 50)])
    trained = torch.cat([batch[0] for batch in batches(task.train, 50, ("o",), augmented=True)])
    measured_ = torch.cat([batch[0] for batch in batches(task.train, 50, ("o",))])
    assert torch.equal(looked.sum((1, 2, 3)).sort().values, measured_.sum((1, 2, 3)).sort().values)
    assert not torch.equal(trained, measured_)


@pytest.mark.parametrize(
    "field", ["crop=-1", "cutout=-2", "train=-1", "validation=119", "train=91", "test=31", "size=-1"]
)
def test_numbers_that_cannot_be(field: str, parquet: Path) -> None:
    more = f":network=mlp:{field}" if field.startswith("validation") else f":network=mlp:validation=30:{field}"
    with pytest.raises(UserError, match=field.partition("=")[0]):
        tasks.load(task_of(parquet, more))


# ---- the task


def test_parts_are_balanced_disjoint_and_fixed(parquet: Path) -> None:
    task = tasks.load(task_of(parquet, ":network=mlp:validation=30:train=60"))
    again = tasks.load(task_of(parquet, ":network=mlp:validation=30:train=60"))
    assert [len(getattr(task, part)) for part in ("train", "validation", "test")] == [60, 30, 30]
    assert all(
        torch.bincount(task.part(part).labels).tolist() == [n // 3] * 3 for part, n in (("train", 60), ("test", 30))
    )
    assert task.fingerprints == again.fingerprints and task.reference == pytest.approx(math.log(3))
    rows = {tuple(one.flatten().tolist()) for part in ("train", "validation") for one in task.part(part).pixels}
    assert len(rows) == 90  # no image twice
    few = tasks.load(task_of(parquet, ":network=mlp:validation=30:train=24")).part("train").pixels
    assert torch.equal(few, task.part("train").pixels[:24])  # a smaller set is a part of a larger one


def test_mean_and_deviation_are_those_of_the_training_images_taken(parquet: Path) -> None:
    images = tasks.load(task_of(parquet, ":network=mlp:validation=30:train=33")).part("train")
    values = images.pixels.double() / 255
    assert torch.allclose(images.mean, values.mean((0, 2, 3)).float(), atol=1e-6)
    assert torch.allclose(images.std, values.std((0, 2, 3), correction=0).float(), atol=1e-6)


def test_the_grammar_of_images(parquet: Path) -> None:
    text = f"images(parquet:{parquet}):train=60:crop=0:flip=false:network=mlp:validation=5000"
    said = tasks.canonical(text)
    assert said == f"images(parquet:{parquet}):network=mlp:train=60:crop=0:flip=false"
    assert tasks.canonical(said) == said
    assert tasks.parse(said).portable == "images:network=mlp:train=60:crop=0:flip=false"
    with pytest.raises(UserError, match=r"--data hf:uoft-cs/cifar100"):
        tasks.canonical("images:network=resnet8")
    with pytest.raises(UserError, match="Did you mean 'resnet8'"):
        tasks.canonical(f"images(parquet:{parquet}):network=resnet9")


def test_a_folder_of_transformers_is_a_network_for_images(
    parquet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config = transformers.ViTConfig(image_size=32, patch_size=8, num_labels=7, **sizes)
    config.architectures = ["ViTForImageClassification"]
    config.save_pretrained(tmp_path / "vit")
    monkeypatch.chdir(tmp_path)
    recipe = parse(
        {"task": task_of(parquet, ":network=./vit:validation=30:crop=1"), "epochs": 1, "probe": {"draws": 0}}
    )
    run = train(recipe, tmp_path / "runs")
    assert run.recipe.task == f"images(parquet:{parquet}):network={tmp_path / 'vit'}:validation=30:crop=1"
    assert run.record["identity"]["recipe"]["task"] == "images:network=transformers:validation=30:crop=1"
    (tmp_path / "vit").rename(tmp_path / "moved")
    again = parse(
        {"task": task_of(parquet, ":network=./moved:validation=30:crop=1"), "epochs": 1, "probe": {"draws": 0}}
    )
    assert train(again, tmp_path / "runs").folder == run.folder
    (tmp_path / "moved").rename(tmp_path / "vit")
    assert measured(run, MeasurePlan("gaussian-filter-max:0,.1", chips=2))["score"].shape == (2, 2)


def test_a_part_without_an_image_says_so(parquet: Path) -> None:
    task = tasks.load(task_of(parquet, ":network=mlp:validation=0"))
    with pytest.raises(UserError, match="keeps no images for validation"):
        task.part("validation")
    assert len(task.part("train")) and task.fingerprints["validation"]


def test_a_study_of_images_is_gone_on_with_from_another_folder(
    parquet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, type_: Type
) -> None:
    (tmp_path / "mine.toml").write_text(
        """question = "Is it?"
seeds = 2
recipe = {task = "images:network=mlp:validation=30", epochs = 1, probe = {draws = 0}}
test = {corruptions = "gaussian-filter-max:0,0.1", draws = 2}
selection.draws = 2
arms = [{name = "a"}]
"""
    )
    here, elsewhere = parquet.parent, tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(here)
    typed = ["worker", str(tmp_path / "mine.toml"), "--home", str(tmp_path / "runs")]
    assert type_(*typed, "--data", f"parquet:{parquet.name}").code == 0
    plan = records.read(tmp_path / "runs" / "studies" / "mine" / "study.json")
    monkeypatch.chdir(elsewhere)
    again = type_(*typed)
    assert again.code == 0, again.err
    parquet.rename(elsewhere / "moved")
    assert type_(*typed, "--data", "parquet:moved").code == 0
    jobs = records.read(tmp_path / "runs" / "studies" / "mine" / "study.json")["jobs"]
    assert jobs == plan["jobs"]
    assert type_("results", "mine", "--home", str(tmp_path / "runs")).code == 0


def test_a_run_is_named_by_what_its_images_are_and_not_by_where_they_lie(parquet: Path, tmp_path: Path) -> None:
    recipe = parse(
        {"task": task_of(parquet, ":network=mlp:validation=30:train=30"), "epochs": 1, "probe": {"draws": 0}}
    )
    run = train(recipe, tmp_path / "runs")
    elsewhere = tmp_path / "elsewhere"
    parquet.rename(elsewhere)
    with pytest.raises(UserError, match="no such folder"):
        run.task()
    moved = parse(
        {"task": task_of(elsewhere, ":network=mlp:validation=30:train=30"), "epochs": 1, "probe": {"draws": 0}}
    )
    assert train(moved, tmp_path / "runs").folder == run.folder
    table(elsewhere / "data" / "test-00000-of-00001.parquet", 30, start=5000)
    assert train(moved, tmp_path / "runs").folder != run.folder  # other test images


def test_measuring_a_part_of_the_training_images(parquet: Path, tmp_path: Path) -> None:
    recipe = parse({"task": task_of(parquet), "epochs": 1, "probe": {"draws": 0}})
    run = train(recipe, tmp_path / "runs")
    whole = measured(run, MeasurePlan("gaussian-filter-max:0,.1", "train", chips=2))["score by example"]
    some = measured(run, MeasurePlan("gaussian-filter-max:0,.1", "train", chips=2, examples=20))["score by example"]
    assert whole.shape == (2, 90) and np.array_equal(whole[:, :20], some)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder of images and one with a run on them, from the command line."""
    root = tmp_path_factory.mktemp("images")
    table(root / "colours" / "train.parquet", 90)
    table(root / "colours" / "test.parquet", 30, start=1000)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("INCORRUPTIBLE_CACHE", str(root / "cache"))
        patched.chdir(root)
        typed = ["images:network=conv:validation=30", "--data", "parquet:colours", "--epochs", "3", "--batch", "10"]
        patched.setattr(sys, "argv", ["incorruptible", "train", *typed])
        with pytest.raises(SystemExit) as end:
            run_command()
    assert end.value.code == 0
    (folder,) = (root / "runs" / "trained").iterdir()
    return root, folder


@pytest.mark.parametrize(
    "verb", ["measure", "audit", "certify", "sensitivity", pytest.param("landscape", marks=pytest.mark.slow)]
)
def test_every_command_on_a_run_of_images(
    verb: str, trained: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, type_: Type
) -> None:
    root, folder = trained
    monkeypatch.setenv("INCORRUPTIBLE_CACHE", str(root / "cache"))
    monkeypatch.chdir(tmp_path)  # the run finds its data from anywhere
    more = {
        "measure": ["--corruption", "gaussian-filter-max:0,.1", "--chips", "2", "--batchnorm", "recalibrated"],
        "audit": ["--corruption", "gaussian-filter-max:.1"],
        "certify": [
            "--corruption",
            "gaussian-filter-max:.1",
            "--accuracy",
            "0.3",
            "--min-yield",
            "0.5",
            "--chips",
            "10",
        ],
        "sensitivity": ["--corruption", "gaussian-filter-max:.1", "--chips", "2"],
        "landscape": ["--strengths", "0.1", "--no-fail", "--surface", "3", "--draws", "2", "--images", "30"],
    }
    done = type_(verb, str(folder), *more[verb])
    assert done.code == 0, done.err


def test_training_on_images_learns(trained: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    root, folder = trained
    monkeypatch.setenv("INCORRUPTIBLE_CACHE", str(root / "cache"))
    run = open_run(folder)
    assert measured(run, MeasurePlan("gaussian-filter-max:0", chips=1))["score"].item() > 0.8  # 1/3 by chance
    assert records.read(folder / "run.json")["recipe"]["task"].startswith(f"images(parquet:{root.resolve()}/colours)")


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["train", "digits", "--data", "parquet:x"], "brings its own data"),
        (["train", "images"], "--data hf:uoft-cs/cifar100"),
        (["train", "--data", "parquet:nowhere"], "no such folder"),
        (["train", "--data", "nowhere"], "parquet:PATH or folder:PATH"),
        pytest.param(
            ["study", "digits", "--data", "parquet:x"],
            "no arm of digits.toml is about images",
            marks=pytest.mark.slow,
        ),
        pytest.param(["study", "cifar10-resnet8"], "--data hf:uoft-cs/cifar100", marks=pytest.mark.slow),
    ],
)
def test_mistakes_typed(typed: list[str], said: str, tmp_path: Path, type_: Type) -> None:
    done = type_(*typed, "--home", str(tmp_path / "runs"))
    assert done.code == 2 and said in done.err, done.err
    assert not (tmp_path / "runs").exists()


# ---- CIFAR-10


@pytest.fixture
def decoded_cifar(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, own_cache: None) -> None:
    """One cache for the tests of CIFAR-10: its 60,000 images are decoded for the first of them alone."""
    monkeypatch.setenv("INCORRUPTIBLE_CACHE", str(tmp_path_factory.getbasetemp() / "cifar"))


@pytest.mark.slow
@needs_cifar
@pytest.mark.usefixtures("decoded_cifar")
def test_the_study_of_cifar10_holds_to_its_limits() -> None:
    study = load_study("cifar10-resnet8", data=f"parquet:{CIFAR}")
    assert len(study.arms) <= 10 and len(study.seeds) == 4
    assert [str(one) for one in study.test.corruptions] == ["gaussian-filter-max:0,0.05,0.1,0.15"]
    assert [claim.name for claim in study.claims] == ["C1", "C2", "C4a"]
    sizes = {design.recipe.task: tasks.load(design.recipe.task) for design in study.arms}
    assert sorted(len(task.train) for task in sizes.values()) == [5000, 48000]
    assert all(len(task.test) == 10_000 for task in sizes.values())


@pytest.mark.slow
@needs_cifar
@pytest.mark.usefixtures("decoded_cifar")
def test_resnet8_learns_and_a_killed_training_goes_on(tmp_path: Path) -> None:
    from incorruptible.runs import Left

    text = f"images(parquet:{CIFAR}):train=600:validation=1000:test=500"
    recipe = parse(
        {"task": text, "epochs": 3, "objective": "sam", "strength": "0.05", "probe": Probe(draws=0).__dict__}
    )
    whole = train(recipe, tmp_path / "whole")
    stops = iter([True, False, False])
    with pytest.raises(Left):
        train(recipe, tmp_path / "killed", leave=lambda: next(stops))
    again = train(recipe, tmp_path / "killed")
    assert again.record["weights"] == whole.record["weights"]
    losses = [one["loss"] for one in whole.record["metrics"]]
    assert losses[-1] < losses[0] and fingerprint(whole.task().test) == whole.task().fingerprints["test"]
    assert measured(whole, MeasurePlan("gaussian-filter-max:0", chips=1))["score"].item() > 0.15


@pytest.mark.slow
@needs_cifar
def test_the_study_of_the_papers_table_asks_under_both_conventions_and_all_policies() -> None:
    study = load_study("cifar100-resnet18", data=f"parquet:{CIFAR}")
    assert [name for _, _, name in study.test.looks()][:3] == [
        "gaussian-filter-max",
        "gaussian-filter-sqrtmax",
        "gaussian-filter-max, BatchNorm folded",
    ]
    assert len(study.test.looks()) == 6 and study.seeds == (0, 1, 2)
    recipes = [design.recipe for design in study.arms]
    assert {one.epochs for one in recipes} == {200, 400} and all("resnet18" in one.task for one in recipes)
    strengths = {one.strength for one in recipes if one.objective == "rwp(gaussian-filter-max)"}
    assert {f"{how}{s:g}" for how in ("constant:", "quadratic:0:") for s in (0.02, 0.03, 0.05, 0.07)} <= strengths
