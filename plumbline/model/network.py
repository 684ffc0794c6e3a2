"""The file that defines the network: whether it is as shipped, and modules made from it.

A file is as shipped if its syntax tree is that of the shipped file, comments and docstrings aside. To find out imports
no torch. An error in a user's file is told in one line, with the number of the file's line.
"""

import ast
import contextlib
import functools
import hashlib
import sys
import traceback
import types
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np

from plumbline.basics import inputs
from plumbline.basics.errors import UserError, reason
from plumbline.bits import rows

PATH = "stages/network.py"
CLASS = "TwoLayerNet"
CPU_IS_FULL = "DefaultCPUAllocator"  # in PyTorch's RuntimeError when the machine's memory is full
TRIED = 64  # made-up rows that an edited network is tried with
# The syntax tree of stages/network.py, as `read` hashes it; a test holds it.
SHIPPED = "f9f8af57c66cd622eb5d74990ed23b3b4adaf9f4504416a2a6736ce3374c4285"


class Network(msgspec.Struct, frozen=True):
    """A file that defines a network, as it was read."""

    path: str
    code: bytes
    tree: str  # SHA-256 of its syntax tree

    @property
    def is_shipped(self) -> bool:
        """Whether it is the shipped network, the one that the compiled kernel knows."""
        return self.tree == SHIPPED


def read(path: str | Path = PATH) -> Network:
    """Read the file that defines the network; a UserError where it is not there or is no Python."""
    try:
        code = inputs.read(path)
    except FileNotFoundError:
        raise UserError(f"{path} is not there, and defines the network; `git restore {path}` brings it back") from None
    try:
        tree = ast.parse(code, str(path))
    except (SyntaxError, ValueError) as error:  # the second of a zero byte, as in UTF-16
        line, said = getattr(error, "lineno", 1), getattr(error, "msg", error)
        raise UserError(f"{path} line {line}: {said}; mend it") from None
    if local := next(_local_imports(tree, Path(path)), None):
        line, file = local
        raise UserError(f"{path} line {line} imports {file}, whose changes nobody would see; put its code into {path}")
    return Network(str(path), code, hashlib.sha256(ast.unparse(_without_docstrings(tree)).encode()).hexdigest())


def _local_imports(tree: ast.Module, path: Path) -> Iterator[tuple[int, Path]]:
    """Lines that import files of the repository, and these. Neither DVC nor the tree's hash would see them change."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [".".join(filter(None, (node.module, alias.name))) for alias in node.names] + [node.module or ""]
        else:
            continue
        places = [name.replace(".", "/") for name in names if name]
        modules = [folder / place for place in places for folder in (Path(), path.parent)]
        files = [file for module in modules for file in (module.with_suffix(".py"), module / "__init__.py")]
        yield from ((node.lineno, file) for file in files if file.is_file())


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and (
            ast.get_docstring(node, clean=False) is not None
        ):
            node.body = node.body[1:] or [ast.Pass()]
    return tree


# ---- the module; from here on torch is imported


def blank(network: Network, sizes: tuple[int, int, int]):
    """A new module of the network; a UserError where that fails, or where it has no parameters to train.

    sizes: features, hidden units and outputs. Initial weights come from torch's own generator, as for every module.
    """
    with in_one_line(network):
        module = _class_of(network)(*sizes)
        trained = sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
    if not trained:
        raise UserError(f"{network.path}: {CLASS} has no parameters to train; add a layer")
    return module


@functools.cache
def _class_of(network: Network) -> type:
    """The class that the file defines. The file is run once in a process."""
    module = types.ModuleType(f"network_{network.tree[:12]}")
    module.__file__ = str(Path(network.path).absolute())
    sys.modules[module.__name__] = module  # dataclasses and torch.jit look a class's module up there
    with in_one_line(network):
        exec(compile(network.code, network.path, "exec", dont_inherit=True), module.__dict__)
    if not hasattr(module, CLASS):
        raise UserError(f"{network.path} defines no class {CLASS}; give the network that name")
    return getattr(module, CLASS)


@contextlib.contextmanager
def in_one_line(network: Network, only_its_lines: bool = False) -> Iterator[None]:
    """Turn an exception of the user's code into a UserError that names the file's line.

    Running out of memory is a MemoryError, whoever allocated. only_its_lines: an exception passes unchanged if no line
    of the user's file was running.
    """
    try:
        yield
    except (UserError, MemoryError):
        raise
    except (Exception, SystemExit) as error:
        said = reason(error)
        if type(error).__name__ == "OutOfMemoryError" or CPU_IS_FULL in said:
            raise MemoryError(f"PyTorch says: {said}") from None
        steps = traceback.walk_tb(error.__traceback__)
        lines = [line for frame, line in steps if frame.f_code.co_filename == network.path]
        if only_its_lines and not lines:
            raise
        where = f" line {lines[-1]}" if lines else ""
        mend = "install it" if isinstance(error, ModuleNotFoundError) else "mend it"
        raise UserError(f"{network.path}{where}: {type(error).__name__}: {said}; {mend}") from error


def state(module) -> dict:
    """The parameters and buffers of a module that a model file keeps, by their names in the state_dict.

    A tensor that has two names is here once, under the first.
    """
    kept = module.state_dict(keep_vars=True)
    named = [*module.named_parameters(), *module.named_buffers()]
    return {name: tensor for name, tensor in named if name in kept}


def filled(module, weights: dict[str, np.ndarray], number: int | tuple[int, ...]):
    """Copy one network's weights into the module, and return it. weights: (R, ...) each, or (R, members, ...).

    number: of the network, with members (network, member).
    """
    import torch

    with torch.no_grad():
        for name, tensor in state(module).items():
            tensor.copy_(torch.from_numpy(np.array(weights[name][number])))
    return module


def try_out(network: Network, sizes: tuple[int, int, int]) -> int:
    """How many parameters the network has. A UserError for a network that could not be scored as it was trained.

    A few made-up rows go through it, as in a step of training, and then in eval(). They consist of 0 and 1, which a
    number may be, and a category.
    """
    import torch

    features, _, outputs = sizes
    x = torch.randint(0, 2, (TRIED, features), generator=torch.Generator().manual_seed(0)).float()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(TRIED)
        module = blank(network, sizes)
        if torch.initial_seed() != TRIED:
            raise _refused(network, "seeds torch's generator, so that all networks would be equal; remove manual_seed")
        _check_state(network, module)
        names = list(state(module))
        with in_one_line(network):
            logits = module(x)
        shape = tuple(getattr(logits, "shape", ()))
        if shape != (TRIED, outputs):
            found, must = shape or f"a {type(logits).__name__}", f"must give logits {(TRIED, outputs)}, a line a row"
            raise _refused(network, f"forward gives {found} for {TRIED} rows, and {must}; mend what it returns")
        if not logits.requires_grad:
            raise _refused(network, "the logits have no gradient by the parameters; return what they compute")
        with in_one_line(network):
            logits.sum().backward()
        if list(state(module)) != names:
            raise _refused(network, "forward makes parameters or buffers; make them in __init__")
        weights = {name: tensor.detach().numpy()[None] for name, tensor in state(module).items()}
        _check_answers(network, module.eval(), filled(blank(network, sizes), weights, 0).eval(), x)
    return sum(parameter.numel() for parameter in module.parameters())


def _check_state(network: Network, module) -> None:
    """A UserError for what a model file cannot hold, or Adam cannot train."""
    for name, tensor in state(module).items():
        kind = str(tensor.dtype).removeprefix("torch.")
        if not tensor.numel():
            raise _refused(network, f"{name} has no elements; raise train.hidden_size, or mend the layer's size")
        if kind == "bfloat16" or tensor.is_complex():
            raise _refused(network, f"{name} is {kind}, which a model file does not hold; make it float32")


def _check_answers(network: Network, module, loaded, x) -> None:
    """A UserError where in eval() a row has other logits the next time, beside other rows, or in a loaded module."""
    import torch

    with torch.no_grad(), in_one_line(network):
        first, again, half, of_file = module(x), module(x), module(x[: TRIED // 2]), loaded(x)
    if not torch.allclose(first, again, 1e-4, 1e-6, equal_nan=True):
        raise _refused(network, "in eval() forward gives the same rows other logits each time; draw if self.training")
    if not torch.allclose(first[: TRIED // 2], half, 1e-2, 1e-3, equal_nan=True):
        raise _refused(network, "in eval() a row's logits depend on the rows beside it; mend forward")
    if not torch.allclose(first, of_file, 1e-4, 1e-6, equal_nan=True):
        raise _refused(
            network,
            "forward uses what is no parameter and no buffer, so that a loaded network would give other logits; use "
            "nn.ModuleList for layers, nn.Parameter, or register_buffer for what stays",
        )


def _refused(network: Network, why: str) -> UserError:
    return UserError(f"{network.path}: {why}")


# ---- scoring


def probabilities(
    network: Network,
    sizes: tuple[int, int, int],
    layout: np.ndarray,
    weights: dict[str, np.ndarray],
    x: np.ndarray,
    batch_size: int,
) -> np.ndarray:
    """Probabilities that R networks in eval() give to n rows: float32 (R, n, k); k = 1 is the second of two classes.

    x: (n, c), encoded by the layout; it is expanded a batch at a time. weights: (R, ...) each, or (R, members, ...),
    where the members' mean logit is the network's.
    """
    import torch

    out = np.empty((len(next(iter(weights.values()))), len(x), sizes[2]), np.float32)
    with torch.inference_mode(), in_one_line(network):
        for r in range(len(out)):
            module = scorer(network, sizes, weights, r)
            for start in range(0, len(x), batch_size):
                logits = module(torch.tensor(rows.expand(x[start : start + batch_size], layout))).double()
                given = torch.sigmoid(logits) if sizes[2] == 1 else torch.softmax(logits, dim=1)
                out[r, start : start + batch_size] = given.numpy()
    return out


def scorer(network: Network, sizes: tuple[int, int, int], weights: dict[str, np.ndarray], r: int):
    """Network r as a module in eval(). Weights that are (R, members, ...) make one that averages its members."""
    import torch

    module = blank(network, sizes)
    if all(weights[name].ndim == tensor.dim() + 1 for name, tensor in state(module).items()):
        return filled(module, weights, r).eval()

    class Mean(torch.nn.Module):
        """The mean logit of a network's members."""

        def __init__(self, members):
            super().__init__()
            self.members = torch.nn.ModuleList(members)

        def forward(self, x):
            return torch.stack([member(x) for member in self.members]).mean(dim=0)

    members = len(next(iter(weights.values()))[r])
    return Mean(filled(blank(network, sizes), weights, (r, m)) for m in range(members)).eval()
