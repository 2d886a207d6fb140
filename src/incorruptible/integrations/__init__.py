"""Hardening inside other people's training loops: accelerate, Lightning, and the `Trainer` of
transformers.

Each has a module of its own, which imports its package: `from incorruptible.integrations.lightning
import LightningHardening`.
"""

from __future__ import annotations

__all__: list[str] = []
