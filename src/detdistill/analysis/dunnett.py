"""Dunnett's distribution: the largest of several |t| that share one control and one pooled variance.

Dunnett, JASA 50, 1955: T_i = (mean_i - mean_0) / (s sqrt(1/n_i + 1/n_0)). Given the control's mean z and the pooled s,
the T_i are independent, so that with l_i^2 = n_i / (n_i + n_0)

    P(max |T_i| <= d) = E_s E_z  prod_i  Phi((d s - l_i z) / sqrt(1 - l_i^2)) - Phi((-d s - l_i z) / sqrt(1 - l_i^2)),

z normal, s^2 chi-squared over its degrees of freedom. Both expectations are Gaussian quadratures: the same figure on
every call and a quantile in milliseconds, where `scipy.stats.dunnett` draws random points. Tests hold the two together.
"""

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from scipy import stats
from scipy.optimize import brentq
from scipy.special import ndtr

NODES = 96
_TAIL = 1e-12


def coverage(limit: float, treated: Sequence[int], control: int, freedom: int) -> float:
    """P(max |T_i| <= limit) of groups of `treated` and `control` values, the variance of `freedom` degrees."""
    spread, weight = pooled(freedom)
    z, normal = _normal()
    inside = np.ones((NODES, NODES))
    for n, groups in Counter(treated).items():
        loading, rest = np.sqrt(n / (n + control)), np.sqrt(control / (n + control))
        edge, shift = (limit * spread / rest)[:, None], (loading * z / rest)[None]
        inside *= (ndtr(edge - shift) - ndtr(-edge - shift)) ** groups
    return float(weight @ inside @ normal)


@lru_cache(maxsize=1024)
def quantile(level: float, treated: tuple[int, ...], control: int, freedom: int) -> float:
    """The limit d of that coverage."""
    return float(brentq(lambda d: coverage(d, treated, control, freedom) - level, 0.0, 1e4, xtol=1e-9))


@lru_cache(maxsize=256)
def pooled(freedom: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of the pooled s, in units of sigma: Gauss-Legendre over all of its density that matters."""
    s = stats.chi(freedom, scale=freedom**-0.5)
    low, high = s.ppf(_TAIL), s.isf(_TAIL)
    x, weight = np.polynomial.legendre.leggauss(NODES)
    nodes = low + (high - low) * (x + 1) / 2
    return nodes, weight * (high - low) / 2 * s.pdf(nodes)


@lru_cache(maxsize=1)
def _normal() -> tuple[np.ndarray, np.ndarray]:
    z, weight = np.polynomial.hermite_e.hermegauss(NODES)
    return z, weight / weight.sum()
