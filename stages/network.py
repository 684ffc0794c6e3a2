"""The two-layer network as a PyTorch module, and the plain autograd loop.

`train.engine: torch` trains with the loop below, on a GPU with stages.batched. The default engine, stages.kernel, is
the same mathematics compiled. The tests of both hold them against this loop. The module is also what a user takes home:

    from stages.network import load
    module = load("models/model.safetensors")
"""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from stages import model as models
from stages.errors import UserError


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


class Trainer:
    """R modules, each with its own Adam, trained an epoch at a time; the interface of stages.kernel.Trainer."""

    def __init__(
        self,
        x: np.ndarray,
        y: np.ndarray,
        weights: dict[str, np.ndarray],
        batch_size: int,
        learning_rate: float,
        weight_decay: float = 0.0,
        group=None,
    ):
        self.learning_rate = learning_rate
        self.modules = [module_of(weights, r) for r in range(len(weights["net.0.bias"]))]
        # Without decay AdamW is Adam. Fused is one pass over each weight where the default makes ten.
        options = {"lr": learning_rate, "weight_decay": weight_decay, "fused": True}
        self.optimizers = [torch.optim.AdamW(module.parameters(), **options) for module in self.modules]
        self.x, self.y, self.batch_size = torch.from_numpy(x), torch.from_numpy(y), batch_size
        self.binary = weights["net.2.weight"].shape[1] == 1
        self.loss = nn.BCEWithLogitsLoss() if self.binary else nn.CrossEntropyLoss()
        if self.binary:
            self.y = self.y.float().unsqueeze(1)  # (n, 1), as the logits
        else:
            self.y = self.y.long()

    def epoch(self, orders: np.ndarray) -> np.ndarray:
        """One epoch of every network in its order of rows (R, n): mean loss and accuracy, float64 (R, 2)."""
        runs = zip(self.modules, self.optimizers, orders)
        return np.array([self._epoch(module, optimizer, torch.from_numpy(order)) for module, optimizer, order in runs])

    def _epoch(self, module: nn.Module, optimizer: torch.optim.Optimizer, order: torch.Tensor) -> tuple[float, float]:
        module.train()
        for group in optimizer.param_groups:
            group["lr"] = self.learning_rate
        total_loss = correct = 0.0
        for rows in order.split(self.batch_size):
            x, y = self.x[rows], self.y[rows]
            logits = module(x)
            loss = self.loss(logits, y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            predicted = logits >= 0 if self.binary else logits.argmax(dim=1)
            total_loss += loss.item() * len(rows)
            correct += (predicted == y).sum().item()
        return total_loss / len(order), correct / len(order)

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
