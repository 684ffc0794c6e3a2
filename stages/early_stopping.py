"""Early stopping: every network keeps its weights of the lowest validation loss and stops by itself.

Networks are trained side by side, and what one keeps or when it stops depends on no other. The state is arrays, so
that it can be written down between two epochs.
"""

import msgspec
import numpy as np


class Best(msgspec.Struct):
    """The best epoch so far of R networks: their weights (R, ...) by name, losses and epochs; and who still trains."""

    patience: int
    weights: dict[str, np.ndarray]
    loss: np.ndarray
    epoch: np.ndarray
    running: np.ndarray  # networks that still train, by their numbers here

    @classmethod
    def start(cls, patience: int, weights: dict[str, np.ndarray]) -> "Best":
        """Before the first epoch."""
        networks = len(weights["net.0.bias"])
        worst = np.full(networks, np.finfo(np.float64).max)
        return cls(patience, weights, worst, np.zeros(networks, np.int64), np.arange(networks))

    def update(self, epoch: int, weights: dict[str, np.ndarray], losses: np.ndarray | None) -> np.ndarray:
        """Take in an epoch of the running networks; returns which of them go on, a mask.

        weights and losses: of the running networks, in their order. Without patience the last epoch is the best.
        """
        if not self.patience:
            self.weights, self.epoch[:] = weights, epoch
            return np.full(len(self.running), True)
        better = losses < self.loss[self.running]
        improved = self.running[better]
        self.epoch[improved], self.loss[improved] = epoch, losses[better]
        for name, array in weights.items():
            self.weights[name][improved] = array[better]
        going_on = epoch - self.epoch[self.running] < self.patience
        self.running = self.running[going_on]
        return going_on
