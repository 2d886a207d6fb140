"""Hardening inside other people's training loops: accelerate, Lightning, and the `Trainer` of
transformers.

Each of the three has a module of its own, which imports its package: `from
incorruptible.integrations.lightning import LightningHardening`. For a loop of your own, use
`incorruptible.Hardener`.

    hardening = LightningHardening(RWP(Gaussian("filter-max")), Quadratic(0, 0.1), seed=0)
    Trainer(max_epochs=10, callbacks=[hardening]).fit(module, loader)  # Lightning's own trainer
"""

from __future__ import annotations
