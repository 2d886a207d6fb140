"""A task's text without where its files lie: what is in them identifies a run, and what others read names no folder."""

from __future__ import annotations

import os
import re

from .grammar import split

__all__ = ["placeless"]


def placeless(task: str) -> str:
    """`task` without folders: of images neither their data nor a network's folder, of a task of the user's own the file's name.

    >>> placeless("images(parquet:/data/cifar10):network=resnet18"), placeless("/home/me/mine.py:task"), placeless("digits")
    ('images:network=resnet18', 'mine.py:task', 'digits')
    """
    spec = split(task)
    if spec.name == "images" and spec.inner is not None:
        own = os.sep in spec.fields.get("network", "")
        bare = task.replace(f"({spec.inner})", "", 1)
        return re.sub(r"network=[^:]*", "network=transformers", bare) if own else bare
    return task.replace("\\", "/").rpartition("/")[2] if ".py:" in task else task
