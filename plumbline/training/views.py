"""Training members that see different inputs (train.encoding: mixed), each on the inputs that it sees.

A view is a set of stored columns. From outside, every member has weights for all inputs, with 0 for those that it does
not see. So members of different views can be merged into one network.
"""

import numpy as np

from plumbline.bits import kernel, rows
from plumbline.training.networks import Weights, joined, spread

FIRST = "net.0.weight"  # (R, h, d)


class Trainer:
    """One plumbline.bits.kernel.Trainer for each view, together with the same interface.

    weights: for all inputs, (R, ...) each. view_of: the number of each network's view, int (R,). views: the numbers of
    each view's stored columns. options: those of kernel.Trainer.
    """

    def __init__(self, weights: Weights, view_of: np.ndarray, views: list[np.ndarray], layout: np.ndarray, **options):
        self.view_of, self.inputs = view_of, [rows.inputs_of(layout, columns) for columns in views]
        self.features, self.learning_rate = weights[FIRST].shape[2], options["learning_rate"]
        self.trainers = {}
        for view in np.unique(view_of).tolist():
            own = {name: array[view_of == view] for name, array in weights.items()}
            own[FIRST] = own[FIRST][:, :, self.inputs[view]]
            self.trainers[view] = kernel.Trainer(own, layout=layout, columns=views[view], **options)

    def train(self, x: np.ndarray, y: np.ndarray, orders: np.ndarray, sums: np.ndarray) -> None:
        """As the kernel's, of all networks."""
        for trainer, lines in self._each():
            own, trainer.learning_rate = sums[lines], self.learning_rate
            trainer.train(x, y, orders[lines], own)
            sums[lines] = own

    def average(self, decay: float) -> None:
        """As the kernel's, of all networks."""
        for trainer in self.trainers.values():
            trainer.average(decay)

    def loss_sums(self, x: np.ndarray, y: np.ndarray, rows: np.ndarray, sums: np.ndarray) -> None:
        """As the kernel's, of all networks."""
        for trainer, lines in self._each():
            own = sums[lines]
            trainer.loss_sums(x, y, rows[lines] if len(rows) > 1 else rows, own)
            sums[lines] = own

    def select(self, networks: np.ndarray) -> None:
        """Keep only some of the networks. networks: a mask."""
        kept = [(view, networks[self.view_of == view]) for view in self.trainers]
        self.trainers = {view: self.trainers[view] for view, own in kept if own.any()}
        for view, own in kept:
            if view in self.trainers:
                self.trainers[view].select(own)
        self.view_of = self.view_of[networks]

    @property
    def state(self) -> list[np.ndarray]:
        """The state of all trainers."""
        return [array for trainer in self.trainers.values() for array in trainer.state]

    def weights(self, networks: slice | np.ndarray = slice(None)) -> Weights:
        """As the kernel's, for all inputs."""
        asked, parts = np.zeros(len(self.view_of), bool), []
        asked[networks] = True
        for view, trainer in self.trainers.items():
            parts.append(spread(trainer.weights(asked[self.view_of == view]), self.inputs[view], self.features))
        lines = np.concatenate([lines[asked[lines]] for _, lines in self._each()])
        order = np.argsort(lines, kind="stable")
        return {name: array[order] for name, array in joined(parts).items()}

    def _each(self) -> list[tuple[kernel.Trainer, np.ndarray]]:
        """Each trainer, and the numbers of its networks."""
        return [(trainer, np.flatnonzero(self.view_of == view)) for view, trainer in self.trainers.items()]
