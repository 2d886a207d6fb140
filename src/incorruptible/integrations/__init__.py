"""Hardening inside other people's training loops: accelerate, Lightning, and the `Trainer` of
transformers.

Each of the three has a module of its own, which imports its package: `from
incorruptible.integrations.lightning import LightningHardening`. For a loop of your own, use
`incorruptible.Hardener`.
"""

from __future__ import annotations
