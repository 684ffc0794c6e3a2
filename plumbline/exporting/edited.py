"""A network of the user's own as an ONNX graph, by PyTorch's exporter."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator

import numpy as np
import onnx
from onnx import compose
from onnx.reference import ReferenceEvaluator

from plumbline.basics.errors import UserError, reason
from plumbline.model import network as networks
from plumbline.model.model import Model

TRIED = 16, 1  # numbers of rows that graph and module are compared on
NEAR = 1e-5  # how close their logits must be


def exported(model: Model, opset: int, prefix: str) -> onnx.ModelProto:
    """A graph of all networks of the model: inputs (n, d) to logits (R, n, k). Its names begin with the prefix.

    UserError where PyTorch cannot export the module, or the graph gives other logits than the module.
    """
    import torch

    network, sizes = model.network, model.card.sizes

    class Networks(torch.nn.Module):
        """The R networks as one module."""

        def __init__(self):
            super().__init__()
            scorers = (networks.scorer(network, sizes, model.weights, r) for r in range(model.networks))
            self.networks = torch.nn.ModuleList(scorers)

        def forward(self, x):
            return torch.stack([network(x) for network in self.networks])

    module = Networks().eval()
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((TRIED[0], sizes[0])).astype(np.float32))
    rows = {0: torch.export.Dim("n")}
    try:
        with _silence():
            found = torch.onnx.export(module, (x,), dynamic_shapes={"x": rows}, opset_version=opset).model_proto
        agree = [_agree(module, found, x[:count]) for count in TRIED]
    except ModuleNotFoundError:  # a package that the exporter needs: its name is what helps
        raise
    except Exception as error:  # whatever PyTorch, or the graph, cannot do
        raise _refused(network, reason(error.__cause__ or error)) from error
    if {each.domain for each in found.opset_import} != {""} or found.functions:
        raise _refused(network, "it takes operators that ONNX does not have")
    if not all(agree):
        raise _refused(network, "what it exports gives other logits")
    return compose.add_prefix(found, prefix)


def _agree(module, found: onnx.ModelProto, x) -> bool:
    """Whether the graph gives the module's logits for rows x (m, d)."""
    (said,) = ReferenceEvaluator(found).run(None, {found.graph.input[0].name: x.numpy()})
    expected = module(x).detach().numpy()
    return said.shape == expected.shape and np.allclose(said, expected, rtol=NEAR, atol=NEAR, equal_nan=True)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """The exporter prints its progress and its attempts; users see neither."""
    logging.disable(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(action="ignore"),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            yield
    finally:
        logging.disable(logging.NOTSET)


def _refused(network: networks.Network, why: str) -> UserError:
    return UserError(f"{network.path}: PyTorch cannot export it ({why[:150]}); `plumbline predict` scores it as it is")
