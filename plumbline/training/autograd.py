"""The plain autograd loop: how any network that stages/network.py may define is trained, on the CPU or a GPU.

`run_epoch` is the notebook's loop: for every batch logits, loss, zero_grad, backward and step. What is new is that R
networks are trained side by side, on the sum of their losses. That sum's gradient is, for each network's weights, the
gradient of its own loss. So each is trained as if it were alone, but for what dropout draws.

The compiled kernel does the same mathematics for the shipped network. A test holds the two to each other.
"""

import os
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from plumbline.basics.errors import UserError
from plumbline.bits import rows as encoded
from plumbline.model import network as module_of
from plumbline.model.network import Network, in_one_line
from plumbline.training.networks import Weights

SCORED = 2**12  # rows of each network that are scored at a time
SMALL = 2**21  # products of a step's first layer: up to so many, threads mostly wait for each other


def run_epoch(model, batches, loss_fn, optimizer) -> torch.Tensor | float:
    """Train on some batches; returns each network's sums of losses and of right answers, float64 (R, 2)."""
    model.train()
    sums = 0.0
    for x, y, weight, count in batches:  # (R, b, d), (R, b, 1), each row's (R, b), and the mean goes over `count` rows
        logits = model(x)  # (R, b, k)
        losses = loss_fn(logits, y)  # (R, b)
        optimizer.zero_grad()
        ((weight * losses).sum() / count).backward()
        optimizer.step()
        sums += summed(losses, logits, y)
    return sums


def summed(losses: torch.Tensor, logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Each network's sums of losses and of right answers, float64 (R, 2)."""
    answers = logits >= 0 if logits.shape[2] == 1 else logits.argmax(dim=2, keepdim=True)
    right = (answers == y).squeeze(2)
    return torch.stack([losses.detach().double().sum(dim=1), right.double().sum(dim=1)], dim=1)


def binary_loss(logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """BCEWithLogitsLoss of each row: (R, b), of logits (R, b, 1)."""
    return nn.functional.binary_cross_entropy_with_logits(logits, y.float(), reduction="none").squeeze(2)


def several_loss(logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """CrossEntropyLoss of each row: (R, b), of logits (R, b, k)."""
    losses = nn.functional.cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="none")
    return losses.view(y.shape[:2])


class Networks(nn.Module):
    """R networks as one module. Each gets rows of its own."""

    def __init__(self, each: Iterable[nn.Module]):
        super().__init__()
        self.each = nn.ModuleList(each)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (R, b, k) of rows x (R, b, d)."""
        logits = torch.stack([network(rows) for network, rows in zip(self.each, x)])
        for buffer in self.buffers():  # a buffer that `forward` has assigned would keep the step's graph alive
            buffer.detach_()
        return logits


class Scaled(nn.Module):
    """The shipped network with its inputs multiplied by scales: first 1, and 0 for an input that it does not see."""

    def __init__(self, network: nn.Module, scales: np.ndarray, learns: bool):
        super().__init__()
        self.network, self.scales = network, nn.Parameter(torch.tensor(scales), requires_grad=learns)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (b, k) of rows x (b, d)."""
        return self.network(x * self.scales)

    def folded(self) -> dict[str, torch.Tensor]:
        """The weights of a network without scales that gives the same logits."""
        state = module_of.state(self.network)
        return state | {"net.0.weight": state["net.0.weight"] * self.scales}


class Recorded:
    """A training step on a GPU as a CUDA graph: recorded once, replayed for every batch of as many rows.

    PyTorch takes longer to start a step's kernels one by one than the GPU takes to run them (benchmarks/gpu.py). A
    replay runs no Python. So only the shipped network is recorded: a user's `forward` may depend on Python.
    """

    def __init__(self, step: Callable[[torch.Tensor], torch.Tensor], rows: torch.Tensor):
        self.rows, self.graph = rows.clone(), torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):  # this records the step, and does not train
            self.sums = step(self.rows)

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        """What `step` gives for these rows; the next call overwrites it."""
        self.rows.copy_(rows)
        self.graph.replay()
        return self.sums


class Trainer:
    """R networks and their Adam moments, with the interface of plumbline.bits.kernel.Trainer.

    sizes: features, hidden units, outputs. weights: parameters and buffers; `average` averages the buffers too.
    group: the workers that train one network together, or None.
    scales: float32 (R, d), what each network's inputs are multiplied by; None: nothing. Only for the shipped network,
    whose returned weights contain them. Above 0, input_rate is how many times faster than weights they learn.
    """

    def __init__(
        self,
        network: Network,
        sizes: tuple[int, int, int],
        weights: Weights,
        batch_size: int,
        learning_rate: float,
        weight_decay: float = 0.0,
        device: str = "cpu",
        group=None,
        class_weights: np.ndarray | None = None,
        layout: np.ndarray | None = None,
        scales: np.ndarray | None = None,
        input_rate: float = 0.0,
        averages: bool = False,
    ):
        networks, (d, h, _) = len(next(iter(weights.values()))), sizes
        if networks * batch_size * d * h <= SMALL:
            torch.set_num_threads(1)
        if device == "cuda":
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
        self.network, self.sizes, self.device = network, sizes, device
        self.batch_size, self.learning_rate, self.weight_decay = batch_size, learning_rate, weight_decay
        self.rank, self.workers = (group.rank, group.size) if group else (0, 1)
        self.loss_fn = binary_loss if sizes[2] == 1 else several_loss
        class_weights = np.ones(max(sizes[2], 2), np.float32) if class_weights is None else class_weights
        self.class_weights = torch.tensor(class_weights, device=device)
        layout = encoded.numbers(d) if layout is None else layout
        self.inputs = [torch.from_numpy(each).to(device) for each in encoded.by_input(layout)]
        self.is_compact = bool((layout[:, 0] != encoded.NUMBER).any())
        # The last two tables, of training and of watched rows: x as it was given, x and y on the device
        self.held: list[tuple] = []
        self.input_rate = input_rate
        self.averaged = {name: array.copy() for name, array in weights.items()} if averages else {}
        each = self._filled(weights).each
        if scales is not None:
            each = [Scaled(one, own, input_rate > 0) for one, own in zip(each, scales)]
        self._set_up(each)

    def _filled(self, weights: Weights) -> Networks:
        """Networks with these weights (R, ...)."""
        networks = range(len(next(iter(weights.values()))))
        each = [module_of.filled(module_of.blank(self.network, self.sizes), weights, r) for r in networks]
        return Networks(each).to(self.device)

    def _set_up(self, each: Iterable[nn.Module], moments: dict[torch.Tensor, dict] | None = None) -> None:
        """Train these networks from now on. moments: Adam's, by parameter; None: zeros."""
        self.networks = Networks(each).to(self.device)
        self.model = DistributedDataParallel(self.networks) if self.workers > 1 else self.networks
        trained = [parameter for parameter in self.networks.parameters() if parameter.requires_grad]
        # Without decay AdamW is Adam. Fused makes one pass over the weights where the default makes ten.
        options = {"weight_decay": self.weight_decay, "fused": True, "capturable": self.device == "cuda"}
        scales = dict.fromkeys(each.scales for each in self.networks.each if isinstance(each, Scaled))
        groups = [{"params": [each for each in trained if each not in scales]}]
        if self.input_rate:
            groups.append({"params": list(scales), "weight_decay": 0.0})
        if self.device == "cuda":  # a recorded step reads each epoch's learning rate from this tensor
            groups = [group | {"lr": torch.zeros((), device=self.device)} for group in groups]
        self.optimizer = torch.optim.AdamW(groups, **options)
        self.recorded: tuple[torch.Tensor, Recorded] | None = None  # the table of a recorded step, and the step
        for parameter in trained:
            start = {"step": torch.zeros((), device=self.device)}
            start |= {name: torch.zeros_like(parameter) for name in ("exp_avg", "exp_avg_sq")}
            self.optimizer.state[parameter] = moments[parameter] if moments else start

    def train(self, x: np.ndarray, y: np.ndarray, orders: np.ndarray, sums: np.ndarray) -> None:
        """As the kernel's."""
        for group, times in zip(self.optimizer.param_groups, (1.0, self.input_rate)):
            if self.device == "cuda":
                group["lr"].fill_(self.learning_rate * times)
            else:
                group["lr"] = self.learning_rate * times
        with in_one_line(self.network, only_its_lines=True):  # other errors may be a worker's that lost the others
            total = self._epoch(*self._there(x, y, orders))
        if self.workers > 1:
            torch.distributed.all_reduce(total)
        sums += total.cpu().numpy()

    def _epoch(self, x: torch.Tensor, y: torch.Tensor, orders: torch.Tensor) -> torch.Tensor:
        """Sums as `run_epoch` returns them; on a GPU the shipped network's step is recorded, and replayed."""

        def step(rows: torch.Tensor) -> torch.Tensor:
            return run_epoch(self.model, self._batches(x, y, rows), self.loss_fn, self.optimizer)

        if self.device != "cuda" or self.workers > 1 or not self.network.is_shipped:
            return step(orders)
        total = 0.0
        if self.recorded is None or self.recorded[0] is not x:
            first, orders = orders.tensor_split([self.batch_size], dim=1)
            total += step(first)  # sets up what cannot be set up while recording
            self.recorded = x, Recorded(step, first)
        for rows in orders.split(self.batch_size, dim=1) if orders.numel() else ():
            fits = rows.shape == self.recorded[1].rows.shape
            total += self.recorded[1](rows) if fits else step(rows)
        return total

    def _batches(
        self, x: torch.Tensor, y: torch.Tensor, orders: torch.Tensor
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor, float]]:
        """What `run_epoch` takes for each batch. Where several workers train one network, it is this worker's share.

        DistributedDataParallel averages the workers' gradients. So each sum of losses is divided by the batch's rows
        over the number of workers.
        """
        for batch in orders.split(self.batch_size, dim=1):
            rows = batch[:, self.rank :: self.workers].long()
            weight = self.class_weights[y[rows].squeeze(2)]
            yield self._expanded(x[rows]), y[rows], weight, batch.shape[1] / self.workers

    def _expanded(self, x: torch.Tensor) -> torch.Tensor:
        """Inputs (R, b, d) of encoded rows x (R, b, c), on the device."""
        return encoded.expanded(x, self.inputs, torch.where) if self.is_compact else x

    def _there(self, x: np.ndarray, y: np.ndarray, rows: np.ndarray) -> tuple[torch.Tensor, ...]:
        """x (n, c), y (n, 1) and numbers of rows on the device. A table that is there already is not copied again."""
        held = next((each for each in self.held if each[0] is x), None)
        if held is None:
            self.held = self.held[-1:]  # frees the older table before the new one is copied
            classes = torch.from_numpy(y).to(self.device, torch.int64)
            self.held.append(held := (x, torch.from_numpy(x).to(self.device), classes.unsqueeze(1)))
        return *held[1:], torch.from_numpy(rows).to(self.device)

    def loss_sums(self, x: np.ndarray, y: np.ndarray, rows: np.ndarray, sums: np.ndarray) -> None:
        """As the kernel's, of the networks in eval()."""
        x, y, rows = self._there(x, y, rows)
        networks = self._filled(self.averaged) if self.averaged else self.networks
        networks.eval()
        with torch.no_grad(), in_one_line(self.network):  # inference_mode would leave assigned buffers unfit to train
            for some in rows.expand(len(sums), -1).split(SCORED, dim=1):
                some = some.long()
                logits = networks(self._expanded(x[some]))
                sums += summed(self.loss_fn(logits, y[some]), logits, y[some]).cpu().numpy()

    def seed(self, seed: int) -> None:
        """Seed what dropout, and any other module, draws."""
        torch.manual_seed(seed + self.rank)

    def select(self, networks: np.ndarray) -> None:
        """As the kernel's."""
        each = self.networks.each
        self.averaged = {name: array[networks] for name, array in self.averaged.items()}
        self._set_up([each[r] for r in np.arange(len(each))[networks]], self.optimizer.state)

    def weights(self, networks: slice | np.ndarray = slice(None)) -> Weights:
        """As the kernel's."""
        return {name: array[networks] for name, array in (self.averaged or self._weights()).items()}

    def average(self, decay: float) -> None:
        """As the kernel's."""
        for name, now in self._weights().items():
            was = self.averaged[name]
            was[...] = np.float32(decay) * was + np.float32(1.0 - decay) * now if now.dtype == np.float32 else now

    def _weights(self) -> Weights:
        each = self.networks.each
        states = [one.folded() if isinstance(one, Scaled) else module_of.state(one) for one in each]
        return {name: torch.stack([state[name].detach() for state in states]).cpu().numpy() for name in states[0]}

    @property
    def state(self) -> list[np.ndarray]:
        """Weights, buffers, moments and averages, which a snapshot keeps. On a CPU they are views, to be filled."""
        tensors = [tensor for network in self.networks.each for tensor in module_of.state(network).values()]
        tensors += [tensor for each in self.optimizer.state.values() for tensor in each.values()]
        return [*(tensor.detach().cpu().numpy() for tensor in tensors), *self.averaged.values()]


def check_device(device: str) -> None:
    """A UserError if `device` is cuda and PyTorch sees none."""
    if device == "cuda" and not torch.cuda.is_available():
        remedy = "install PyTorch with CUDA, mend the driver (`nvidia-smi` should list a GPU), or set it to cpu"
        raise UserError(f"train.device is cuda, and PyTorch {torch.__version__} sees no CUDA device; {remedy}")
