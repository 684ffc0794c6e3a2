"""R networks at once as batched matrix products: what `train.device: cuda` trains with.

The table lies on the device, every network takes its own batch of it, and a step is some thirty small operations over
all networks. On a GPU launching them one by one would take longer than running them, so a step is captured once in a
CUDA graph and replayed. The rest runs on a CPU as well, and the tests hold it there against stages.network.

A graph replays the same kernels on the same addresses with the same constants. So whatever a step reads or writes is
a tensor that stays where it is, and whatever changes between steps (rows, learning rate, powers of beta) is in one.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch.nn import functional

from stages.errors import UserError
from stages.kernel import BETA1, BETA2, CORRECT, EPSILON, LOSS, pack, unpack
from stages.network import own_rows, share
from stages.rows import windows

WARM_UP = 3  # steps before a capture, as in PyTorch's notes: cuBLAS and the allocator set themselves up in them


def check_device(device: str) -> None:
    """A UserError where `device` is cuda and there is none."""
    if torch.device(device).type == "cuda" and not torch.cuda.is_available():
        if torch.version.cuda is None and torch.version.hip is None:
            why, remedy = "is a build for the CPU alone", "install PyTorch with CUDA"
        else:
            why, remedy = "sees no CUDA device", "mend the driver (`nvidia-smi` should list a GPU)"
        raise UserError(f"train.device is cuda, but PyTorch {torch.__version__} {why}; {remedy}, or set it to cpu")


class Trainer:
    """R networks and their Adam moments, trained an epoch at a time; the interface of stages.kernel.Trainer.

    Weights are the kernel's vectors (R, p), so that Adam is a few operations for all of them.
    """

    def __init__(self, x, y, weights, batch_size, learning_rate, weight_decay=0.0, device="cpu", group=None):
        check_device(device)
        _, h, d = weights["net.0.weight"].shape
        self.sizes = d, h, weights["net.2.weight"].shape[1]
        self.batch_size, self.learning_rate, self.weight_decay = min(batch_size, len(y)), learning_rate, weight_decay
        self.device, self.group, self.given, self.held = torch.device(device), group, (x, y), None
        self.loss = _binary_loss if self.sizes[2] == 1 else _several_loss
        with _said_if_memory_runs_out():
            packed = torch.tensor(pack(weights), device=self.device)
            self.state = packed, torch.zeros_like(packed), torch.zeros_like(packed)  # weights and both moments
            self.sums = torch.zeros(len(packed), 2, dtype=torch.float64, device=self.device)  # LOSS, CORRECT
        # All networks have taken equally many steps, so they share the powers of beta.
        self.betas = torch.tensor([BETA1, BETA2], dtype=torch.float64, device=self.device)
        self.powers = torch.ones_like(self.betas)
        self.rate = torch.zeros((), dtype=torch.float64, device=self.device)
        self.captured: dict[int, Callable[[torch.Tensor], None]] = {}  # a step by its rows a network

    def epoch(self, orders: np.ndarray) -> np.ndarray:
        """One epoch of every network in its order of rows (R, n): mean loss and accuracy, float64 (R, 2)."""
        with _said_if_memory_runs_out():
            self.rate.fill_(self.learning_rate)
            self.sums.zero_()
            own = functools.partial(own_rows, self.batch_size, self.group) if self.group else None
            for x, y, places in windows(*self.given, orders, self.batch_size, own):
                self._hold(x, y)
                for batch in torch.from_numpy(places).to(self.device, torch.int64).split(self.batch_size, dim=1):
                    rows = batch[:, share(batch.shape[1], self.group)]
                    self._step_for(rows, batch.shape[1])(rows)
            sums = self.sums.cpu().numpy()  # the one time in an epoch that the device is waited for
            return (self.group.gather(sums).sum(axis=0) if self.group else sums) / orders.shape[1]

    def _hold(self, x: np.ndarray, y: np.ndarray) -> None:
        """Have the rows x (n, d) and y (n,) on the device; what is there already stays."""
        if self.held is not x:
            self.captured.clear()  # their addresses are the old ones'
            self.x = self.y = None  # before what takes their place comes
            self.x = torch.from_numpy(x).to(self.device)
            self.y = torch.from_numpy(y).to(self.device, torch.float32 if self.sizes[2] == 1 else torch.int64)
            self.held = x

    def select(self, networks: np.ndarray) -> None:
        """Go on with some of the networks only: their indices, or a mask."""
        chosen = torch.from_numpy(np.arange(len(self.sums))[networks]).to(self.device)
        self.captured.clear()  # their addresses and number of networks are the old ones
        self.state = tuple(tensor[chosen] for tensor in self.state)
        self.sums = self.sums[chosen]

    @property
    def weights(self) -> dict[str, np.ndarray]:
        """The weights of all networks as arrays (R, ...), by their names in the state_dict."""
        return unpack(self.state[0].cpu().numpy(), *self.sizes)

    # ---- one step: nothing here may wait for the device, or depend on a value that is not in a tensor

    def _step(self, count: int, rows: torch.Tensor) -> None:
        """Forward, gradient and Adam for the rows (R, b) of every network, all or a worker's of a batch of `count`."""
        weights, gradient = self.state[0], torch.empty_like(self.state[0])
        w1, b1, w2, b2 = self._views(weights)
        x = self.x[rows]  # (R, b, d)
        hidden = torch.baddbmm(b1.unsqueeze(1), x, w1).relu_()  # (R, b, h)
        logits = torch.baddbmm(b2.unsqueeze(1), hidden, w2.transpose(1, 2))  # (R, b, k)
        losses, right, error = self.loss(logits, self.y[rows].unsqueeze(2))
        self.sums[:, LOSS].add_(losses.sum(dim=(1, 2), dtype=torch.float64))
        self.sums[:, CORRECT].add_(right.sum(dim=(1, 2), dtype=torch.float64))

        error = error / count  # the mean loss's gradient by the logits
        back = torch.bmm(error, w2) * (hidden > 0)  # and by what goes into the ReLU, (R, b, h)
        gw1, gb1, gw2, gb2 = self._views(gradient)
        gw1.copy_(torch.bmm(x.transpose(1, 2), back))
        gb1.copy_(back.sum(dim=1))
        gw2.copy_(torch.bmm(error.transpose(1, 2), hidden))
        gb2.copy_(error.sum(dim=1))
        if self.group:
            gradient = torch.from_numpy(self.group.gather(gradient.cpu().numpy()).sum(axis=0)).to(self.device)
        self._adam(gradient)

    def _views(self, vectors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """W1 transposed (R, d, h), b1 (R, h), W2 (R, k, h) and b2 (R, k) in the kernel's vectors."""
        d, h, k = self.sizes
        w1, b1, w2, b2 = vectors.split([d * h, h, k * h, k], dim=1)
        return w1.unflatten(1, (d, h)), b1, w2.unflatten(1, (k, h)), b2

    def _adam(self, gradient: torch.Tensor) -> None:
        """torch.optim.AdamW's step; without decay that is Adam. (1 - beta in float64, as there.)"""
        weights, first, second = self.state
        self.powers *= self.betas
        correction = 1.0 - self.powers
        first.lerp_(gradient, 1.0 - BETA1)
        second.mul_(BETA2).addcmul_(gradient, gradient, value=1.0 - BETA2)
        denominator = second.sqrt().div_(correction[1].sqrt()).add_(EPSILON)
        weights.mul_(1.0 - self.rate * self.weight_decay)
        weights.sub_((first / denominator).mul_(self.rate / correction[0]))

    # ---- the same step as a CUDA graph

    def _step_for(self, rows: torch.Tensor, count: int) -> Callable[[torch.Tensor], None]:
        """How to run a step for so many rows; an epoch's last batch may have fewer, and then a graph of its own."""
        step = functools.partial(self._step, count)
        if self.device.type == "cpu" or self.group:  # what workers exchange goes through the host
            return step
        if count not in self.captured:
            self.captured[count] = self._capture(step, rows)
        return self.captured[count]

    def _capture(self, step: Callable[[torch.Tensor], None], rows: torch.Tensor) -> Callable[[torch.Tensor], None]:
        """Capture a step. That runs nothing, but the steps before it do, so what they changed is put back."""
        here = torch.empty_like(rows, memory_format=torch.contiguous_format).copy_(rows)
        changed = *self.state, self.sums, self.powers
        before = [tensor.clone() for tensor in changed]
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(WARM_UP):
                step(here)
        torch.cuda.current_stream().wait_stream(aside)
        for tensor, old in zip(changed, before):
            tensor.copy_(old)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step(here)

        def replay(rows: torch.Tensor) -> None:
            here.copy_(rows)
            graph.replay()

        return replay


# ---- loss, right answers, and the gradient of the loss by the logits (R, b, k), each row by itself


def _binary_loss(logits: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """One logit a row; y: float32 (R, b, 1)."""
    losses = functional.binary_cross_entropy_with_logits(logits, y, reduction="none")
    return losses, (logits >= 0) == (y == 1), torch.sigmoid(logits) - y


def _several_loss(logits: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """A logit a class; y: int64 (R, b, 1)."""
    logs = functional.log_softmax(logits, dim=2)
    error = logs.exp()
    error.scatter_add_(2, y, torch.full_like(y, -1.0, dtype=error.dtype))
    return -logs.gather(2, y), logits.argmax(dim=2, keepdim=True) == y, error


@contextlib.contextmanager
def _said_if_memory_runs_out() -> Iterator[None]:
    """What PyTorch says when a device's memory is used up, as the error that a command tells in one line."""
    try:
        yield
    except (torch.OutOfMemoryError, torch.AcceleratorError) as error:
        # An allocation that fails while a graph is captured is told as an error of the capture (pytorch#159594).
        if isinstance(error, torch.AcceleratorError) and "capture" not in str(error):
            raise
        raise MemoryError("the device says: " + ". ".join(str(error).split(". ")[:2])) from None
