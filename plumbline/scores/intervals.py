"""How much of a figure is luck: of the test rows drawn, and of the seeds. One formula for every metric.

A figure is a mean of contributions phi (R, n) of R networks and n rows (`metrics.contributions`).
"""

import math
from typing import NamedTuple

import numpy as np

from plumbline.scores import metrics

RANGES = {"log_loss": (0.0, math.inf), "brier": (0.0, 2.0)}  # every other metric lies between 0 and 1


class Estimate(NamedTuple):
    """A mean of contributions (R, n) and the variances of that mean: by test rows, by seeds, and what both count."""

    mean: float
    v_row: float
    v_seed: float
    v_both: float
    networks: int
    n: int

    @property
    def variance(self) -> float:
        """V = max(V_row, V_seed, V_row + V_seed - V_both)."""
        return max(self.v_row, self.v_seed, self.v_row + self.v_seed - self.v_both)

    @property
    def freedom(self) -> float:
        """Satterthwaite's degrees of freedom of V."""
        by_seed = self.v_seed**2 / (self.networks - 1) if self.networks > 1 else 0.0
        return self.variance**2 / (self.v_row**2 / (self.n - 1) + by_seed)

    def student(self, level: float = 0.95) -> tuple[float, float, float]:
        """Student's t: the interval at `level`, low and high, and the two-sided p of the mean being 0."""
        from scipy.special import stdtr, stdtrit  # 0.1 s that only an interval costs

        if self.n < 2:  # a single row says nothing of how rows differ
            return math.nan, math.nan, math.nan
        if self.variance == 0.0:
            return self.mean, self.mean, float(self.mean == 0.0)
        error, freedom = math.sqrt(self.variance), self.freedom
        half = float(stdtrit(freedom, 0.5 + level / 2)) * error
        return self.mean - half, self.mean + half, 2.0 * float(stdtr(freedom, -abs(self.mean) / error))


def estimate(phi: np.ndarray) -> Estimate:
    """Mean of phi (R, n) with its variance over both test rows and seeds.

    V_row, the variance over rows of the mean over networks / n, and V_seed, that over networks of the mean over rows /
    R, each count V_both, the residual mean square / (n R), once. With one network it is the variance over rows alone.
    This is the crossed readers-by-cases analysis of medical imaging (random readers and cases), as in iMRMC.
    """
    networks, n = phi.shape
    by_network = np.array([network.mean() for network in phi])
    mean = float(by_network.mean())
    of_rows = of_both = 0.0  # sums of squares
    for here in metrics.pieces(n):
        by_row = phi[:, here].mean(axis=0)
        of_rows += float(((by_row - mean) ** 2).sum())
        of_both += sum(float(((of - by_row - own + mean) ** 2).sum()) for of, own in zip(phi[:, here], by_network))
    v_row = of_rows / (n - 1) / n if n > 1 else 0.0
    if networks == 1:
        return Estimate(mean, v_row, 0.0, 0.0, 1, n)
    v_seed = float(by_network.var(ddof=1)) / networks
    v_both = of_both / ((n - 1) * (networks - 1)) / (n * networks) if n > 1 else 0.0
    return Estimate(mean, v_row, v_seed, v_both, networks, n)


def reported(name: str, phi: np.ndarray) -> dict[str, float]:
    """The mean and about 95 % around it in the sign and the range that a metric has in files: mean, low, high.

    A single row has a mean alone.
    """
    estimated = estimate(phi)
    mean, (low, high, _) = estimated.mean, estimated.student()
    if name in metrics.LOSSES:
        mean, low, high = -mean, -high, -low
    figures = {"mean": mean, "low": low, "high": high}
    least, most = RANGES.get(name, (0.0, 1.0))
    return {end: min(max(value, least), most) for end, value in figures.items() if math.isfinite(value)}


def wilson(share: float, n: float) -> tuple[float, float]:
    """About 95 % around a share of n rows, which are independent: Wilson's interval, low and high."""
    z = 1.959963984540054
    middle, half = share + z * z / (2 * n), z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return tuple(min(max((middle + side) / (1 + z * z / n), 0.0), 1.0) for side in (-half, half))
