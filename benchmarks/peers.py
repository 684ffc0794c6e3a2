"""The peers of benchmarks/training.py: other programs that train the same network on the same rows with Adam.

skorch and Lightning are installed into .venv-bench, which sees the project's packages (no second PyTorch) and which
nothing else uses.
"""

import logging
import subprocess
import sys
import sysconfig
import venv
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scratch
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from plumbline.model import network

INSTALLED = ("skorch==1.4.0", "lightning==2.6.6")
ENVIRONMENT = scratch.ROOT / ".venv-bench"
RATE = 0.01
NETWORK = network.read(scratch.ROOT / "stages/network.py")

Prepare = Callable[[], Callable[[], None]]  # sets a training up, and returns what runs it


class Job(NamedTuple):
    """What every side trains; all of them take part in a job with `slow`."""

    rows: int
    features: int
    hidden: int
    outputs: int
    batch: int
    epochs: int
    slow: bool

    @property
    def name(self) -> str:
        """Its numbers, as they stand in the table."""
        return " ".join(map(str, self[:5]))


def install() -> str | None:
    """Make skorch and Lightning importable, installing them at the first time; says why where that cannot be done."""
    packages, done = Path(sysconfig.get_path("purelib", "venv", {"base": str(ENVIRONMENT)})), ENVIRONMENT / "installed"
    if not done.exists() or done.read_text() != " ".join(INSTALLED):
        print(f"installing {' and '.join(INSTALLED)} into {ENVIRONMENT.name}", file=sys.stderr)
        venv.create(ENVIRONMENT, clear=True, with_pip=True)
        # The project's packages, its PyTorch among them, count as installed there, and stay as they are pinned.
        (packages / "project.pth").write_text(sysconfig.get_path("purelib") + "\n")
        pip = [ENVIRONMENT / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        installed = subprocess.run(
            [*pip, "-c", scratch.ROOT / "requirements.txt", *INSTALLED], capture_output=True, text=True
        )
        if installed.returncode:
            return (installed.stderr.strip().splitlines() or ["pip failed"])[-1]
        done.write_text(" ".join(INSTALLED))
    sys.path.append(str(packages))
    return None


def module_for(job: Job) -> nn.Module:
    """The network with weights of its own."""
    return network.blank(NETWORK, (job.features, job.hidden, job.outputs))


def targets_and_loss(job: Job, y: np.ndarray) -> tuple[torch.Tensor, nn.Module]:
    """Targets as the loss takes them, and the loss."""
    if job.outputs == 1:
        return torch.from_numpy(y).float().unsqueeze(1), nn.BCEWithLogitsLoss()
    return torch.from_numpy(y).long(), nn.CrossEntropyLoss()


def autograd(job: Job, x: np.ndarray, y: np.ndarray) -> Prepare:
    """Plain PyTorch without a DataLoader, and without a look at losses and answers."""
    x, y, loss_fn = torch.from_numpy(x), *targets_and_loss(job, y)

    def prepare():
        module = module_for(job)
        optimizer = torch.optim.Adam(module.parameters(), lr=RATE)

        def train():
            for _ in range(job.epochs):
                for rows in torch.randperm(len(x)).split(job.batch):
                    loss = loss_fn(module(x[rows]), y[rows])
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()

        return train

    return prepare


def scikit_learn(job: Job, x: np.ndarray, y: np.ndarray) -> Prepare:
    """scikit-learn's MLPClassifier."""
    warnings.simplefilter("ignore", ConvergenceWarning)  # so few epochs are what is asked for
    options = {"batch_size": job.batch, "learning_rate_init": RATE, "alpha": 0.0, "max_iter": job.epochs}
    options |= {"tol": 0.0, "n_iter_no_change": job.epochs + 1}  # so that it stops after these epochs and not before
    return lambda: lambda: MLPClassifier((job.hidden,), **options).fit(x, y)


def notebook(job: Job, x: np.ndarray, y: np.ndarray) -> Prepare:
    """The notebook's loop over a shuffled DataLoader."""
    y, loss_fn = targets_and_loss(job, y)
    data = TensorDataset(torch.from_numpy(x), y)

    def prepare():
        module = module_for(job)
        optimizer = torch.optim.Adam(module.parameters(), lr=RATE)
        loader = DataLoader(data, batch_size=job.batch, shuffle=True)

        def train():
            for _ in range(job.epochs):
                total_loss = total_correct = 0.0
                for xb, yb in loader:
                    logits = module(xb)
                    loss = loss_fn(logits, yb)
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                    total_loss += loss.item() * len(xb)
                    total_correct += ((torch.sigmoid(logits) >= 0.5).float() == yb).float().sum().item()

        return train

    return prepare


def skorch(job: Job, x: np.ndarray, y: np.ndarray) -> Prepare:
    """skorch, without a validation part and silent."""
    from skorch import NeuralNetBinaryClassifier

    target = y.astype(np.float32)
    sizes = {"module__features": job.features, "module__hidden_size": job.hidden, "module__outputs": job.outputs}
    options = {"max_epochs": job.epochs, "batch_size": job.batch, "lr": RATE, "iterator_train__shuffle": True}
    options |= {"optimizer": torch.optim.Adam, "train_split": None, "verbose": 0}

    def prepare():
        classifier = NeuralNetBinaryClassifier(type(module_for(job)), **sizes, **options)
        return lambda: classifier.fit(x, target)

    return prepare


def lightning(job: Job, x: np.ndarray, y: np.ndarray) -> Prepare:
    """Lightning without logger, checkpoints, progress bar and summary: what it calls barebones."""
    import lightning

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)  # what barebones leaves out, what one could buy
    warnings.filterwarnings("ignore", module="lightning")  # advice on workers
    y, loss_fn = targets_and_loss(job, y)
    data = TensorDataset(torch.from_numpy(x), y)

    class Lit(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.module = module_for(job)

        def training_step(self, batch, index):
            xb, yb = batch
            return loss_fn(self.module(xb), yb)

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), lr=RATE)

    def prepare():
        trainer = lightning.Trainer(max_epochs=job.epochs, accelerator="cpu", barebones=True)
        loader = DataLoader(data, batch_size=job.batch, shuffle=True)
        return lambda: trainer.fit(Lit(), loader)

    return prepare
