"""PAC-Bayes bounds for networks with Gaussian noise on their weights, in numbers; in numpy
alone.
"""

from __future__ import annotations

from .bounds import complexity, mcallester, monte_carlo, pac_bayes_kl, quadratic
from .curvature import curvature, preferred_strength
from .gaussian import Displacement, divergence, paid_divergence
from .kl import kl, kl_inverse

__all__ = [
    "Displacement",
    "complexity",
    "curvature",
    "divergence",
    "kl",
    "kl_inverse",
    "mcallester",
    "monte_carlo",
    "pac_bayes_kl",
    "paid_divergence",
    "preferred_strength",
    "quadratic",
]
