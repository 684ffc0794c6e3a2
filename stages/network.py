"""The two-layer network as a PyTorch module, and the plain autograd loop.

`train.engine: torch` trains with the loop below, on a GPU with stages.batched. The default engine, stages.kernel, is
the same mathematics compiled. The tests of both hold them against this loop. The module is also what a user takes home:

    from stages.network import load
    module = load("models/model.safetensors")
"""

import functools
from pathlib import Path

import numpy as np
import torch
from torch import nn

from stages import model as models
from stages.errors import UserError
from stages.kernel import shared_out
from stages.rows import windows


class TwoLayerNet(nn.Module):
    """Linear, ReLU, Linear; logits come out, (n, 1) for two classes and (n, k) for more.

    There is no sigmoid or softmax here: BCEWithLogitsLoss and CrossEntropyLoss apply theirs, and one in the network
    as well would squash the logits twice and starve the gradients.
    """

    def __init__(self, features: int, hidden_size: int, outputs: int):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(features, hidden_size), nn.ReLU(), nn.Linear(hidden_size, outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (n, outputs) of the rows x (n, features)."""
        return self.net(x)


def load(path: str | Path, replica: int = 0) -> TwoLayerNet:
    """Network `replica` of a model file, ready to score: columns in the order of the file's encoding."""
    saved = models.load(path)
    networks = len(saved.weights["net.0.bias"])
    if not 0 <= replica < networks:
        raise UserError(f"{path} holds {networks} networks, from 0 to {networks - 1}, not {replica}")
    return module_of(saved.weights, replica).eval()


def module_of(weights: dict[str, np.ndarray], replica: int) -> TwoLayerNet:
    """A module with the weights of one network of the arrays (R, ...)."""
    _, hidden_size, features = weights["net.0.weight"].shape
    module = TwoLayerNet(features, hidden_size, weights["net.2.weight"].shape[1])
    module.load_state_dict({name: torch.from_numpy(array[replica].copy()) for name, array in weights.items()})
    return module


def share(rows: int, group) -> slice:
    """Which of a batch's rows are this worker's: all, or its own of the group's contiguous runs, equal as can be."""
    return slice(*shared_out(rows, group.size)[group.rank :][:2]) if group else slice(rows)


def own_rows(batch_size: int, group, networks: int, rows: int) -> np.ndarray:
    """Which rows of some batches are this worker's, a mask (networks, rows)."""
    mask = np.zeros((networks, rows), bool)
    for start in range(0, rows, batch_size):
        batch = mask[:, start : start + batch_size]
        batch[:, share(batch.shape[1], group)] = True
    return mask


class Trainer:
    """R modules, each with its own Adam, trained an epoch at a time; the interface of stages.kernel.Trainer.

    In a group every worker takes a part of a batch's rows, and their gradients are added up.
    """

    def __init__(self, x, y, weights, batch_size, learning_rate, weight_decay=0.0, group=None):
        self.learning_rate = learning_rate
        self.modules = [module_of(weights, r) for r in range(len(weights["net.0.bias"]))]
        # Without decay AdamW is Adam. Fused is one pass over each weight where the default makes ten.
        options = {"lr": learning_rate, "weight_decay": weight_decay, "fused": True}
        self.optimizers = [torch.optim.AdamW(module.parameters(), **options) for module in self.modules]
        self.x, self.y, self.batch_size, self.group = x, y, min(batch_size, len(y)), group
        self.binary = weights["net.2.weight"].shape[1] == 1
        how = {"reduction": "sum"} if group else {}  # a worker may have no row of a batch, and those have no mean
        self.loss = nn.BCEWithLogitsLoss(**how) if self.binary else nn.CrossEntropyLoss(**how)

    def epoch(self, orders: np.ndarray) -> np.ndarray:
        """One epoch of every network in its order of rows (R, n): mean loss and accuracy, float64 (R, 2)."""
        sums = np.zeros((len(orders), 2))
        own = functools.partial(own_rows, self.batch_size, self.group) if self.group else None
        for x, y, places in windows(self.x, self.y, orders, self.batch_size, own):
            x, y, places = torch.from_numpy(x), torch.from_numpy(y), torch.from_numpy(places)
            y = y.float().unsqueeze(1) if self.binary else y.long()  # (n, 1), as the logits
            for r, order in enumerate(places):
                sums[r] += self._train(self.modules[r], self.optimizers[r], x, y, order)
        return (self.group.gather(sums).sum(axis=0) if self.group else sums) / orders.shape[1]

    def _train(self, module: nn.Module, optimizer: torch.optim.Optimizer, x, y, order) -> tuple[float, float]:
        """Some batches; returns the sum of their losses, and right answers."""
        module.train()
        for group in optimizer.param_groups:
            group["lr"] = self.learning_rate
        total_loss = correct = 0.0
        for batch in order.split(self.batch_size):
            rows = batch[share(len(batch), self.group)]
            logits = module(x[rows])
            loss = self.loss(logits, y[rows])
            optimizer.zero_grad()
            (loss / len(batch) if self.group else loss).backward()
            if self.group:
                self._add_up(module)
            optimizer.step()
            predicted = logits >= 0 if self.binary else logits.argmax(dim=1)
            total_loss += loss.item() * (1 if self.group else len(rows))
            correct += (predicted == y[rows]).sum().item()
        return total_loss, correct

    def _add_up(self, module: nn.Module) -> None:
        """Give every worker the sum of all workers' gradients."""
        gradients = [parameter.grad for parameter in module.parameters()]
        own = torch.cat([gradient.flatten() for gradient in gradients])
        total = torch.from_numpy(self.group.gather(own.numpy()).sum(axis=0))
        for gradient, part in zip(gradients, total.split([gradient.numel() for gradient in gradients])):
            gradient.copy_(part.view_as(gradient))

    def select(self, networks: np.ndarray) -> None:
        """Go on with some of the networks only: their indices, or a mask."""
        chosen = np.arange(len(self.modules))[networks]
        self.modules = [self.modules[r] for r in chosen]
        self.optimizers = [self.optimizers[r] for r in chosen]

    @property
    def weights(self) -> dict[str, np.ndarray]:
        """The weights of all networks as arrays (R, ...), by their names in the state_dict."""
        states = [module.state_dict() for module in self.modules]
        return {name: torch.stack([state[name] for state in states]).numpy() for name in states[0]}
