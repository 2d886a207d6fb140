"""PAC-Bayes bounds for networks with Gaussian noise on their weights, as numbers.

A PAC-Bayes bound says how large the risk (mean loss, between 0 and 1) of a noisy network on new
data can be, given its risk on n examples and the distance in nats between its noise and a *prior*,
noise that was fixed before these examples were seen. Here the noise Q is Gaussian around the
trained weights and the prior P is Gaussian around the weights before training. All functions here
need only numpy; `weights` reads the numbers from two networks.

>>> pac_bayes_kl(risk=0.1, divergence=50.0, n=1000, delta=0.05).round(3).tolist()
0.23
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
