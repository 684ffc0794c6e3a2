"""How much of a figure is luck: of the test rows drawn, and of the seeds. One formula for every metric.

A figure is a mean of contributions phi (R, n) of R networks and n rows (`metrics.contributions`). Rows that belong
together (one patient's, one day's, copies of one row) are counted as one group: group numbers (n,) from 0 to G - 1.
"""

import math
from typing import NamedTuple

import numpy as np


class Estimate(NamedTuple):
    """A mean of contributions (R, n) and the variances of that mean: by test rows, by seeds, and what both count."""

    mean: float
    v_row: float
    v_seed: float
    v_both: float
    networks: int
    n: int  # rows, or groups of rows
    of_rows: float  # degrees of freedom of v_row

    @property
    def variance(self) -> float:
        """V = max(V_row, V_seed, V_row + V_seed - V_both)."""
        return max(self.v_row, self.v_seed, self.v_row + self.v_seed - self.v_both)

    @property
    def freedom(self) -> float:
        """Satterthwaite's degrees of freedom of V."""
        by_seed = self.v_seed**2 / (self.networks - 1) if self.networks > 1 else 0.0
        return self.variance**2 / (self.v_row**2 / self.of_rows + by_seed)

    def student(self, level: float = 0.95) -> tuple[float, float, float]:
        """Student's t: the interval at `level`, low and high, and the two-sided p of the mean being 0."""
        from plumbline.scores.special import stdtr  # here, for only an interval costs its start

        if self.n < 2 or self.of_rows <= 0.0:  # a single row says nothing of how rows differ
            return math.nan, math.nan, math.nan
        if self.variance == 0.0:
            return self.mean, self.mean, float(self.mean == 0.0)
        half, error = self.quantile(level) * math.sqrt(self.variance), math.sqrt(self.variance)
        return self.mean - half, self.mean + half, 2.0 * float(stdtr(self.freedom, -abs(self.mean) / error))

    def quantile(self, level: float = 0.95) -> float:
        """By how many standard errors an interval at `level` reaches to either side."""
        from plumbline.scores.special import stdtrit

        freedom = self.freedom if self.variance else self.of_rows
        return float(stdtrit(freedom, 0.5 + level / 2))


# ---- a mean and its variance


def numbered(group: np.ndarray | None) -> np.ndarray | None:
    """Groups by any numbers (n,) as numbers from 0 to G - 1; None where each row is a group of its own."""
    if group is None:
        return None
    different, number = np.unique(group, return_inverse=True)
    return None if len(different) == len(group) else number


def estimate(
    phi: np.ndarray, target: np.ndarray | None = None, group: np.ndarray | None = None, is_ranked: bool = False
) -> Estimate:
    """Mean of phi (R, n) with its variance over both test rows and seeds.

    V_row, the variance over rows of the mean over networks / n, and V_seed, that over networks of the mean over rows /
    R, each count V_both, the residual mean square / (n R), once. With one network it is the variance over rows alone.
    This is the crossed readers-by-cases analysis of medical imaging (random readers and cases), as in iMRMC.

    target: class numbers (n,), where rows of a rare class may make most of the variance. is_ranked: phi are placements
    of each row among those of another class. group: group numbers (n,).
    """
    networks, n = phi.shape
    own = np.array([network.mean() for network in phi])
    mean, v_seed = float(own.mean()), float(own.var(ddof=1)) / networks if networks > 1 else 0.0
    units = n if group is None else int(group.max()) + 1
    if units < 2:
        return Estimate(mean, 0.0, v_seed, 0.0, networks, units, 0.0)
    target = np.zeros(n, np.int8) if target is None else target
    v_row, of_both, of_rows = _over_rows(phi, own, target, group, is_ranked)
    v_both = of_both / (networks * (networks - 1)) if networks > 1 else 0.0
    return Estimate(mean, v_row, v_seed, v_both, networks, units, of_rows)


def _over_rows(
    phi: np.ndarray, own: np.ndarray, target: np.ndarray, group: np.ndarray | None, is_ranked: bool
) -> tuple[float, float, float]:
    """V_row, the residuals' sum of squares / (n (n - 1)), and the degrees of freedom of V_row. own: means (R,).

    The rows of each group are summed: the jackknife that leaves out one group at a time. Of groups of one size, as of
    rows that are each their own, that is the usual variance over clusters, G / (G - 1) sum_g u_g^2 with u_g the sum of
    a group's deviations / n; a group of a larger share w of the rows counts more, u_g / (1 - w), for it has drawn the
    mean to itself (CV3 of MacKinnon, Nielsen and Webb, Journal of Econometrics 232 (2023) 272). Placements divide by
    n_c - 1 within their class (DeLong, DeLong and Clarke-Pearson 1988).
    """
    n, counts = len(target), np.maximum(np.bincount(target), 1)
    rows = phi.mean(axis=0) - own.mean()  # deviations of the mean over networks
    sums, sizes = (rows, np.ones(1)) if group is None else (np.bincount(group, rows), np.bincount(group))
    scale = math.sqrt(1 - 1 / len(sums)) / (n - sizes)
    v_row, of_both = float(((sums * scale) ** 2).sum()), 0.0
    for of, at in zip(phi, own):
        its = of - at if group is None else np.bincount(group, of - at)
        of_both += float((((its - sums) * scale) ** 2).sum())
    of_class = np.bincount(target, rows**2, len(counts))
    if group is None and is_ranked:
        of_class *= counts / np.maximum(counts - 1, 1)
        return float(of_class.sum()) / n**2, of_both, _freedom(of_class, np.maximum(counts - 1, 1))
    if group is None:
        return v_row, of_both, _freedom(of_class, counts) - 1
    groups_of_class = np.bincount(np.unique(group * np.int64(len(of_class)) + target) % len(of_class))
    alike = (float((sums**2).sum()) - of_class.sum()) / max(float((sizes.astype(float) ** 2).sum()) - n, 1.0)
    likeness = min(max(alike * n / max(of_class.sum(), 1e-300), 0.0), 1.0)
    freedom = _freedom(of_class, np.maximum(groups_of_class, 1)) - 1
    return v_row, of_both, min(freedom, _freedom_of_groups(sizes, likeness))


def _freedom(of_class: np.ndarray, counts: np.ndarray) -> float:
    """Degrees of freedom of V = sum_c V_c, where V_c has n_c: V^2 / sum_c(V_c^2 / n_c) (Satterthwaite).

    As many as rows where all are alike, and few where few rows of a rare class make the variance.
    """
    spread = float((of_class**2 / counts).sum())
    return float(of_class.sum()) ** 2 / spread if spread > 0.0 else float(counts.sum())


def _freedom_of_groups(sizes: np.ndarray, likeness: float) -> float:
    """Degrees of freedom of the jackknife's variance when groups differ in size: 2 E[V]^2 / Var[V] (Bell, McCaffrey).

    The sum of a group of m rows has a variance of m (1 + (m - 1) rho), rho the likeness (intraclass correlation) of its
    rows: as Imbens and Kolesar, Review of Economics and Statistics 98 (2016) 701, have it. Of G groups of one size it
    is G - 1. V is the quadratic form sum_g c_g (s_g - w_g sum s)^2, whose matrix has the entries below.
    """
    share, of_group = sizes / sizes.sum(), sizes * (1.0 + (sizes - 1.0) * likeness)
    c = 1.0 / (1.0 - share) ** 2
    v, whole = c * share, float((c * share**2).sum())  # entry g, h: whole - v_g - v_h, and + c_g on the diagonal
    trace = float(((c + whole - 2.0 * v) * of_group).sum())
    s0, s1, s2 = (float((v**power * of_group).sum()) for power in range(3))
    square = whole**2 * s0**2 + 2.0 * s2 * s0 - 4.0 * whole * s1 * s0 + 2.0 * s1**2
    square += float((c * (c + 2.0 * (whole - 2.0 * v)) * of_group**2).sum())
    return trace**2 / square


def cross_fitted(estimate: Estimate, fold: np.ndarray | None) -> Estimate:
    """An estimate on out-of-fold rows, whose V_row is K / (K - 1) times as large. fold: (R, n), from 0; None: no such.

    The networks have learnt from the rows that they score for one another, and another table would have taught all of
    them something else. Nadeau and Bengio, Machine Learning 52 (2003) 239, correct the variance S^2 of J estimates to
    (1 / J + n_test / n_train) S^2, Bouckaert and Frank (PAKDD 2004) for repeated cross-validation: the part that
    remains however many J there are, 1 / (K - 1) of the variance of a fold's mean. The other is V_seed.
    """
    folds = 1 if fold is None else int(fold.max()) + 1
    return estimate._replace(v_row=estimate.v_row * folds / (folds - 1)) if folds > 1 else estimate


# ---- how many more


def larger(estimate: Estimate, rows: float = 1.0, networks: float = 1.0) -> Estimate:
    """What an estimate would be with so many times the rows, or the networks: the same spread of each."""
    e, both = estimate, estimate.v_both / (rows * networks)
    return e._replace(
        v_row=max(e.v_row - e.v_both, 0.0) / rows + min(e.v_both, e.v_row) / (rows * networks),
        v_seed=max(e.v_seed - e.v_both, 0.0) / networks + min(e.v_both, e.v_seed) / (rows * networks),
        v_both=both,
        networks=round(e.networks * networks),
        n=round(e.n * rows),
        of_rows=(e.of_rows + 1.0) * rows - 1.0,
    )


def half(estimate: Estimate) -> float:
    """Half the width of the interval."""
    return estimate.quantile() * math.sqrt(estimate.variance)


def more(estimate: Estimate) -> tuple[float, float] | None:
    """How wide the interval would be at twice the rows, and at twice the networks, as shares of its width now.

    None of fewer than three networks, whose spread is too little known, and where there is no width.
    """
    now = half(estimate) if estimate.n > 1 and estimate.networks > 2 else 0.0
    if not now > 0.0:
        return None
    return half(larger(estimate, rows=2)) / now, half(larger(estimate, networks=2)) / now


def rows_needed(estimate: Estimate, width: float) -> int | None:
    """Rows (or groups) from which on an interval reaches no farther than `width` to either side, with these networks.

    None where the seeds alone keep it wider: more networks would help.
    """
    low, high = 0.0, 40.0  # powers of two times the rows
    if half(larger(estimate, rows=2**high)) > width:
        return None
    if half(estimate) <= width:
        return estimate.n
    while high - low > 1e-4:
        middle = (low + high) / 2
        low, high = (low, middle) if half(larger(estimate, rows=2**middle)) <= width else (middle, high)
    return math.ceil(estimate.n * 2**high)


def wilson(share: float, n: float, z: float = 1.959963984540054) -> tuple[float, float]:
    """About 95 % around a share of n rows, which are independent: Wilson's interval, low and high."""
    middle, half = share + z * z / (2 * n), z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return tuple(min(max((middle + side) / (1 + z * z / n), 0.0), 1.0) for side in (-half, half))
