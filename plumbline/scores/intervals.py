"""How much of a figure is luck: a variance over test rows and over seeds, and the interval that follows from it.

A figure is the mean of its contributions phi (R, n): R networks, n rows (`metrics.contributions`). So one formula
serves every metric. Rows that depend on each other (one patient's, one day's, copies of one row) count as one group.
group: the group of each row (n,), numbered from 0 to G - 1.
"""

import math
from typing import NamedTuple

import numpy as np


class Estimate(NamedTuple):
    """A mean of contributions (R, n) and the variance of that mean, by where it comes from."""

    mean: float
    v_row: float  # from the test rows
    v_seed: float  # from the seeds
    v_both: float  # the part that v_row and v_seed each contain
    networks: int
    n: int  # rows, or groups of rows
    df_row: float  # degrees of freedom of v_row

    @property
    def variance(self) -> float:
        """V = max(V_row, V_seed, V_row + V_seed - V_both)."""
        return max(self.v_row, self.v_seed, self.v_row + self.v_seed - self.v_both)

    @property
    def df(self) -> float:
        """Degrees of freedom of V (Satterthwaite)."""
        by_seed = self.v_seed**2 / (self.networks - 1) if self.networks > 1 else 0.0
        return self.variance**2 / (self.v_row**2 / self.df_row + by_seed)

    @property
    def has_interval(self) -> bool:
        """Whether there are rows enough: a single row, or group, does not show how rows differ."""
        return self.n > 1 and self.df_row > 0.0

    def student(self, level: float = 0.95) -> tuple[float, float, float]:
        """Student's t: low and high of the interval at `level`, and the two-sided p of the mean being 0; else NaN."""
        from plumbline.scores.special import stdtr  # here, not at the top: SciPy's start takes time

        if not self.has_interval:
            return math.nan, math.nan, math.nan
        if self.variance == 0.0:
            return self.mean, self.mean, float(self.mean == 0.0)
        error = math.sqrt(self.variance)
        half = self.quantile(level) * error
        return self.mean - half, self.mean + half, 2.0 * float(stdtr(self.df, -abs(self.mean) / error))

    def quantile(self, level: float = 0.95) -> float:
        """By how many standard errors an interval at `level` reaches to either side."""
        from plumbline.scores.special import stdtrit

        return float(stdtrit(self.df if self.variance else self.df_row, 0.5 + level / 2))

    @property
    def half_width(self) -> float:
        """Half the width of the 95 % interval."""
        return self.quantile() * math.sqrt(self.variance)


# ---- a mean and its variance


def numbered(group: np.ndarray | None) -> np.ndarray | None:
    """Groups (n,) under any numbers, renumbered from 0 to G - 1; None where each row is a group of its own."""
    if group is None:
        return None
    different, number = np.unique(group, return_inverse=True)
    return None if len(different) == len(group) else number


def estimate(
    phi: np.ndarray, target: np.ndarray | None = None, group: np.ndarray | None = None, is_ranked: bool = False
) -> Estimate:
    """The mean of phi (R, n), with its variance over test rows and seeds.

    V_row is the variance over rows of the mean over networks, / n. V_seed is the variance over networks of the mean
    over rows, / R. V_both is the residual mean square, / (n R); V_row and V_seed each contain it once. With one network
    the variance is over rows alone. Medical imaging calls this the crossed analysis of readers and cases, both random
    (the R package iMRMC).

    target: class numbers (n,); given where a rare class may make most of the variance. is_ranked: phi are DeLong's
    placements, or another metric's of the rows' order. group: group numbers (n,).
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
    """V_row, the residuals' sum of squares / (n (n - 1)), and the degrees of freedom of V_row. own: phi's means (R,).

    This is the jackknife that leaves out one group of rows at a time. Let u_g be the sum of a group's deviations, / n.
    With groups of one size, single rows among them, V_row is the usual cluster variance,
    G / (G - 1) sum_g u_g^2. A group with a share w of the rows counts as u_g / (1 - w): the larger it is, the more it
    has pulled the mean to itself (CV3 of MacKinnon, Nielsen and Webb, Journal of Econometrics 232 (2023) 272).
    Placements divide by n_c - 1 within their class (DeLong, DeLong and Clarke-Pearson 1988).
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

    With V_c in proportion to n_c they are the number of rows. They are few where a rare class makes the variance.
    """
    spread = float((of_class**2 / counts).sum())
    return float(of_class.sum()) ** 2 / spread if spread > 0.0 else float(counts.sum())


def _freedom_of_groups(sizes: np.ndarray, likeness: float) -> float:
    """Degrees of freedom of the jackknife's variance when groups differ in size: 2 E[V]^2 / Var[V] (Bell, McCaffrey).

    The sum s_g of a group of m rows has the variance m (1 + (m - 1) rho), where rho is the likeness of its rows, their
    intraclass correlation (Imbens and Kolesar, Review of Economics and Statistics 98 (2016) 701). V is the quadratic
    form sum_g c_g (s_g - w_g sum s)^2, w_g the group's share of the rows. G groups of one size have G - 1.
    """
    share, of_group = sizes / sizes.sum(), sizes * (1.0 + (sizes - 1.0) * likeness)
    c = 1.0 / (1.0 - share) ** 2
    # The form's matrix has the entries whole - v_g - v_h, and c_g more on the diagonal
    v, whole = c * share, float((c * share**2).sum())
    trace = float(((c + whole - 2.0 * v) * of_group).sum())
    s0, s1, s2 = (float((v**power * of_group).sum()) for power in range(3))
    square = whole**2 * s0**2 + 2.0 * s2 * s0 - 4.0 * whole * s1 * s0 + 2.0 * s1**2
    square += float((c * (c + 2.0 * (whole - 2.0 * v)) * of_group**2).sum())
    return trace**2 / square


def cross_fitted(estimate: Estimate, fold: np.ndarray | None) -> Estimate:
    """An estimate on out-of-fold rows of K folds: its V_row is K / (K - 1) times as large.

    fold: the fold of each row in each network (R, n), from 0; None if rows are not out-of-fold: nothing changes.

    The networks of K folds share most of their training rows, and another table would have moved all of them together.
    Nadeau and Bengio, Machine Learning 52 (2003) 239, correct the variance S^2 of J estimates to
    (1 / J + n_test / n_train) S^2; Bouckaert and Frank (PAKDD 2004) do so for repeated cross-validation. The second
    term stays however large J is. It is S^2 / (K - 1), where S^2, the variance of a fold's mean, is K V_row. The first
    term is V_seed.
    """
    folds = 1 if fold is None else int(fold.max()) + 1
    return estimate._replace(v_row=estimate.v_row * folds / (folds - 1)) if folds > 1 else estimate


# ---- how many more


def larger(estimate: Estimate, rows: float = 1.0, networks: float = 1.0) -> Estimate:
    """What the estimate would be with so many times the rows, or so many times the networks, of the same spread."""
    e = estimate
    return e._replace(
        v_row=max(e.v_row - e.v_both, 0.0) / rows + min(e.v_both, e.v_row) / (rows * networks),
        v_seed=max(e.v_seed - e.v_both, 0.0) / networks + min(e.v_both, e.v_seed) / (rows * networks),
        v_both=e.v_both / (rows * networks),
        networks=round(e.networks * networks),
        n=round(e.n * rows),
        df_row=(e.df_row + 1.0) * rows - 1.0,
    )


def width_at_twice(estimate: Estimate) -> tuple[float, float] | None:
    """The interval's width at twice the rows, and at twice the networks, both as shares of its width now.

    None with fewer than three networks, whose spread is too little known, and where the interval has no width.
    """
    now = estimate.half_width if estimate.n > 1 and estimate.networks > 2 else 0.0
    if not now > 0.0:
        return None
    return larger(estimate, rows=2).half_width / now, larger(estimate, networks=2).half_width / now


def rows_needed(estimate: Estimate, half_width: float) -> int | None:
    """Rows (or groups) at which the interval gets down to this half-width, with as many networks as there are.

    None where the seeds alone keep it wider: more networks would help.
    """
    low, high = 0.0, 40.0  # exponents of 2: how many times the rows
    if larger(estimate, rows=2**high).half_width > half_width:
        return None
    if estimate.half_width <= half_width:
        return estimate.n
    while high - low > 1e-4:
        middle = (low + high) / 2
        is_enough = larger(estimate, rows=2**middle).half_width <= half_width
        low, high = (low, middle) if is_enough else (middle, high)
    return math.ceil(estimate.n * 2**high)


def wilson(share: float, n: float, z: float = 1.959963984540054) -> tuple[float, float]:
    """Wilson's interval around a share of n independent rows, low and high: about 95 % with the default z."""
    middle, half = share + z * z / (2 * n), z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return tuple(min(max((middle + side) / (1 + z * z / n), 0.0), 1.0) for side in (-half, half))
