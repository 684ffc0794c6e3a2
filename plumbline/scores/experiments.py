"""Many experiments: which differ from the base, which may be the best, and how much of the best is luck."""

import math
from typing import NamedTuple

import numpy as np

from plumbline.scores import differences, intervals, metrics
from plumbline.scores.differences import Difference, Rows, Side

ALPHA = 0.05


class Ranked(NamedTuple):
    """What is concluded from K experiments over a base, in one metric."""

    to_base: list[Difference]  # of each experiment: its interval is at 5 % / K, its p and verdict are Holm's
    star: list[bool]  # of the base and each experiment: whether it may be the best
    luck: float  # by how much the best of those with a star looks better than it is, on average; never below 0


def rank(base: Rows, others: list[Rows], name: str, of: str = "mean") -> Ranked:
    """Judge K experiments and their base on the same rows. With 95 % confidence the best has a star.

    of: as in `differences.compare`. All are judged by as many networks as the smallest has.
    """
    base, *others = differences.same_networks([base._replace(group=intervals.numbered(base.group)), *others], of)
    to_base = [differences.compare(base, other, [name], of, 1.0 - ALPHA / len(others))[0] for other in others]
    sides = [differences.side(each, name, of) for each in (base, *others)]
    star = stars(sides, name, base, of)
    best = [side for side, has in zip(sides, star) if has]
    return Ranked(holm(to_base), star, luck(best, base))


def holm(judged: list[Difference]) -> list[Difference]:
    """Verdicts and p by Holm's steps (Scandinavian Journal of Statistics 6 (1979) 65): more powerful than 5 % / K.

    The smallest p is multiplied by K, the next by K - 1, and so on. None becomes smaller than the one before it.
    """
    found, so_far = list(judged), 0.0
    order = sorted((i for i, d in enumerate(judged) if not math.isnan(d.p)), key=lambda i: judged[i].p)
    for place, i in enumerate(order):
        d = judged[i]
        so_far = min(max(so_far, (len(order) - place) * d.p), 1.0)
        verdict = d.verdict
        if verdict in ("better", "worse", "no evidence"):
            is_better = (d.difference > 0) != (d.metric in metrics.LOSSES)
            verdict = ("better" if is_better else "worse") if so_far < ALPHA else "no evidence"
        found[i] = d._replace(p=so_far, verdict=verdict)
    return found


def stars(sides: list[Side], name: str, rows: Rows, of: str = "mean") -> list[bool]:
    """Whether each side may be the best: Hsu's multiple comparisons with the best, Annals of Statistics 12 (1984) 1136.

    A side loses its star when another beats it at one-sided 5 % / K. Only sides with a better figure can, and they are
    tried from the best on.
    """
    level = 1.0 - 2.0 * ALPHA / max(len(sides) - 1, 1)

    def beats(better: Side, side: Side) -> bool:
        estimate = differences.paired(side, better, name, rows)
        return not differences.why_not(name, rows, estimate, of) and estimate.student(level)[0] > 0.0

    means = [side.phi.mean() for side in sides]
    order, star = sorted(range(len(sides)), key=lambda i: -means[i]), [True] * len(sides)
    for place, i in enumerate(order):
        star[i] = not any(beats(sides[j], sides[i]) for j in order[:place])
    return star


def luck(sides: list[Side], rows: Rows) -> float:
    """The luck of the winner: by how much the best of several equally good sides looks better than it is.

    E max_k (X_k - mean X), where X is normal with the covariance of the sides' figures. They share rows and seeds. Each
    side's V_both is taken off once, for its variances over rows and over seeds both contain it.
    """
    if len(sides) < 2 or len(rows.target) < 2:
        return 0.0
    phis = [side.phi for side in sides]
    shared = differences.covariance(phis, rows.group)
    both = [intervals.estimate(phi, None, rows.group).v_both for phi in phis]
    drawn = differences.normals(shared - np.diag(both))
    return float((drawn - drawn.mean(axis=1, keepdims=True)).max(axis=1).mean())
