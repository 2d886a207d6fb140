"""A model of `transformers` from files on this machine: a config alone, or a config with the
weights in the same folder.

Relies on: `from_pretrained` reports which weights did not come from the folder
(`output_loading_info`). Keeps: nothing is fetched from the network, and no code in the folder runs;
weights are float32; a model whose trunk would silently get fresh weights is refused; the settings
of transformers' logging are afterwards as they were.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module, metadata, util
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ...errors import UserError, unknown
from ...files.records import checksum

KINDS = {
    "images": "AutoModelForImageClassification",
    "causal": "AutoModelForCausalLM",
    "masked": "AutoModelForMaskedLM",
    "sequences": "AutoModelForSequenceClassification",
}
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
_OTHERS = (".bin", ".ckpt", ".h5", ".msgpack", ".pt", ".pth", ".safetensors")


@dataclass(frozen=True, eq=False)
class LocalModel:
    """Makes a model of transformers, as `local_model` found it. Calling it gives a model with the
    folder's weights, if there are any.

    `origin` identifies the config, the weights and the version of transformers. Give it to a `Task`
    that uses the model as the task's own `origin`.
    """

    source: Path | Any
    kind: str | None = None

    def __call__(
        self,
        *,
        channels: int | None = None,
        classes: int | None = None,
        size: int | tuple[int, int] | None = None,
    ) -> nn.Module:
        """Returns the model in float32 and training mode. `size` is the height and width of images,
        one number if they are equal.

        An argument that is None is taken from the config. Fresh weights come from torch's global
        generator. If the folder has no weights, all are fresh. If it has, the head (everything
        outside `model.base_model`) or a pooler is fresh where the folder lacks it or has it for
        another number of classes. Raises `UserError` if any other weight would not come from the
        folder, and for a model that transformers cannot make.
        """
        config = self._config(channels, classes, size)
        if not self._weights:
            return self._fresh(config)
        assert isinstance(self.source, Path)
        with _quietly(f"{self.source}: transformers cannot load it"):
            model, told = self._class(config).from_pretrained(
                str(self.source),
                config=config,
                # float32, whatever type is in the file: noise and the steps of an optimiser would
                # be lost in bfloat16
                dtype=torch.float32,
                local_files_only=True,
                trust_remote_code=False,  # otherwise transformers would ask on the terminal
                use_safetensors=True,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
        self._refuse(model, told)
        trained: nn.Module = model.train()
        return trained

    def blank(
        self,
        *,
        channels: int | None = None,
        classes: int | None = None,
        size: int | tuple[int, int] | None = None,
    ) -> nn.Module:
        """Returns the model with fresh weights throughout, for weights that are loaded into it at
        once.
        """
        return self._fresh(self._config(channels, classes, size))

    @cached_property
    def origin(self) -> str:
        """The type of model, a hash of config and weights, and the version of transformers."""
        plain = self._plain
        digest = hashlib.sha256()
        said = {
            name: plain[name]
            for name in sorted(plain)
            if name not in ("transformers_version", "_name_or_path")
        }
        digest.update(json.dumps(said, sort_keys=True, default=str).encode())
        for file in self._weights:
            digest.update(f"{file.name} {checksum(file)} ".encode())
        return (
            f"{plain['model_type']} {digest.hexdigest()[:16]}, transformers "
            f"{metadata.version('transformers')}"
        )

    @property
    def _plain(self) -> dict[str, Any]:
        """The config as plain data."""
        if isinstance(self.source, Path):
            return _read(_file(self.source))
        # the config as it would be written to a file
        said: dict[str, Any] = json.loads(self.source.to_json_string())
        return said

    @property
    def _weights(self) -> list[Path]:
        """The files of the folder's weights. Raises `UserError` if they are of a kind that is not
        read.
        """
        if not isinstance(self.source, Path) or not self.source.is_dir():
            return []
        if any((self.source / name).is_file() for name in _WEIGHTS):
            return sorted(self.source.glob("model*.safetensors*"))
        others = sorted(file.name for file in self.source.iterdir() if file.suffix in _OTHERS)
        if others:
            raise UserError(
                f"{self.source} holds {', '.join(others)} and no model.safetensors: have "
                "transformers write that (model.save_pretrained), or name "
                f"{self.source / 'config.json'} for fresh weights."
            )
        return []

    def _config(
        self, channels: int | None, classes: int | None, size: int | tuple[int, int] | None
    ) -> Any:
        """The config as transformers' own object, with the given channels, classes and size."""
        if isinstance(self.source, Path):
            from transformers import AutoConfig

            with _quietly(f"{self.source}: transformers cannot read its config"):
                config = AutoConfig.from_pretrained(
                    str(_file(self.source)), local_files_only=True, trust_remote_code=False
                )
        else:
            config = copy.deepcopy(self.source)
        if classes is not None and classes != config.num_labels:
            config.num_labels = classes
        if hasattr(config, "num_channels"):
            config.num_channels = config.num_channels if channels is None else channels
        elif channels not in (None, 3):
            raise UserError(
                f"{config.model_type} has no num_channels: images of {channels} channels do not "
                "fit it."
            )
        if size is not None and hasattr(config, "image_size"):
            patch = getattr(config, "patch_size", 1)
            least = size if isinstance(size, int) else min(size)
            if isinstance(patch, int) and least < patch:
                raise UserError(
                    f"{config.model_type}: patches of {patch}x{patch} are larger than images of "
                    f"{least} pixels."
                )
            config.image_size = size
        return config

    def _class(self, config: Any) -> Any:
        """The class of transformers that makes the model: the class for `kind`, or the one that the
        config names.
        """
        import transformers

        if self.kind is not None:
            return getattr(transformers, KINDS[self.kind])
        name = next(iter(config.architectures or ()), "")
        if not hasattr(transformers, name):
            raise UserError(
                f"the config of {config.model_type} names {name or 'no architecture'}, and "
                f"transformers has none of that name: give kind, one of {', '.join(KINDS)}."
            )
        return getattr(transformers, name)

    def _fresh(self, config: Any) -> nn.Module:
        """The model with fresh weights, in float32 and training mode."""
        made = self._class(config)
        with _quietly(f"transformers cannot make a {config.model_type} of this config"):
            options = {"dtype": torch.float32, "trust_remote_code": False}
            model: nn.Module = (
                made(config) if self.kind is None else made.from_config(config, **options)
            )
        return model.float().train()

    def _refuse(self, model: Any, told: dict[str, Any]) -> None:
        """Raises `UserError` if transformers left more than a head or a pooler at fresh weights,
        which it does silently.
        """
        wrong = {
            str(name): f"has {tuple(came)} for {tuple(own)}"
            for name, came, own in told["mismatched_keys"]
        }
        wrong |= {str(name): "is not there" for name in told["missing_keys"]}
        # Names of the trunk begin with its prefix. A model that is its own trunk has no head, so
        # that every missing weight counts.
        trunk = "" if model.base_model is model else f"{model.base_model_prefix}."
        inner = {
            name: what
            for name, what in wrong.items()
            if name.startswith(trunk) and "pooler" not in name.split(".")
        }
        if inner:
            first = min(inner)
            more = f" (and {len(inner) - 1} more)" if len(inner) > 1 else ""
            raise UserError(
                f"{self.source}: the weight {first} {inner[first]}{more}, and only a head may be "
                "made anew: give data of the shape that the model was trained on, or name "
                f"{_file(self.source)} for fresh weights."
            )


def local_model(source: str | Path | Any, kind: str | None = None) -> LocalModel:
    """Returns a model of transformers, from a folder with `config.json`, from such a file, or from
    a config object.

    The weights are the folder's `model.safetensors`; a config alone means fresh weights.
    transformers is told to fetch nothing and to run no code of the folder. `kind` is "images",
    "causal", "masked" or "sequences"; without it, the first of the config's `architectures` is
    made. Raises `UserError` for a file that is not there, and if transformers is not installed.
    """
    if util.find_spec("transformers") is None:
        raise UserError("transformers is not installed: pip install 'incorruptible[models]'")
    if kind is not None and kind not in KINDS:
        raise unknown("kind of model", kind, KINDS)
    if isinstance(source, str | Path):
        source = Path(source).expanduser()
        _read(_file(source))
    elif not hasattr(source, "to_dict") or not hasattr(source, "model_type"):
        raise UserError(
            f"a {type(source).__name__} is no model of transformers: give a folder with "
            "config.json, such a file or a config."
        )
    return LocalModel(source, kind)


def _file(source: Path) -> Path:
    """The config file in a folder, or the file itself."""
    return source if source.suffix == ".json" else source / "config.json"


def _read(file: Path) -> dict[str, Any]:
    """The contents of a config file. Raises `UserError` if there is none, or if it is no config."""
    try:
        plain = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"{file}: no such file; model.save_pretrained(folder) writes one."
        ) from None
    except (OSError, ValueError) as problem:
        raise UserError(f"{file} cannot be read as JSON: {type(problem).__name__}.") from None
    if not isinstance(plain, dict) or "model_type" not in plain:
        raise UserError(f"{file} is no config of transformers: it names no model_type.")
    return plain


@contextmanager
def _quietly(what: str) -> Iterator[None]:
    """Keeps transformers from printing progress bars and reports for the length of a block, and
    raises its errors as `UserError`. Afterwards its settings are as before.
    """
    logging: Any = import_module("transformers.utils.logging")
    bars, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    except UserError:
        raise
    # a config can be wrong in as many ways as there are models, so any error counts
    except Exception as problem:
        line = next(iter(str(problem).strip().splitlines()), "")
        raise UserError(f"{what}: {type(problem).__name__}: {line}") from problem
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
