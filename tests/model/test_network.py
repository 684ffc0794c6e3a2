"""The file that defines the network: as shipped or not, what a student may break in it, and scoring with its module."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import ROOT
from test_model import encoded_rows, saved

from plumbline.basics.errors import UserError
from plumbline.bits import initial, rows, scoring, stream
from plumbline.model import model, module, network

SOURCE = (ROOT / network.PATH).read_text()
SHIPPED = network.read(ROOT / network.PATH)
TANH = SOURCE.replace("nn.ReLU()", "nn.Tanh()")


def written(tmp_path, source, name="edited.py"):
    path = tmp_path / name
    path.write_text(source)
    return network.read(path)


def test_the_file_is_as_shipped():
    assert SHIPPED.is_shipped, f"SHIPPED in plumbline/model/network.py is to be {SHIPPED.tree!r}"


def test_the_notebooks_network_has_385_parameters_and_gives_logits():
    net = network.blank(SHIPPED, (10, 32, 1))
    assert sum(p.numel() for p in net.parameters()) == network.try_out(SHIPPED, (10, 32, 1)) == 385
    assert [type(layer).__name__ for layer in net.net] == ["Linear", "ReLU", "Linear"]
    logits = net(100 * torch.randn(50, 10))
    assert logits.shape == (50, 1)
    assert logits.min() < 0  # a sigmoid would have hidden the sign
    assert logits.max() > 1


def test_initial_weights_are_those_that_torch_draws():
    for seed, (d, h, k) in enumerate([(10, 32, 1), (3, 7, 4), (50, 256, 1), (1, 1, 1)]):
        ours = initial.weights([stream.seeded(seed)], d, h, k)
        torch.manual_seed(seed)
        for name, theirs in network.blank(SHIPPED, (d, h, k)).state_dict().items():
            assert torch.equal(torch.from_numpy(ours[name][0]), theirs), (name, d, h, k)


@pytest.mark.parametrize(
    "same",
    [
        SOURCE + "\n# a comment\n",
        SOURCE.replace("        super()", '        "What it is made of."\n        super()'),
        SOURCE.replace('"""Logits (n, outputs) of the rows x (n, features)."""\n        ', ""),
        SOURCE.replace(
            "(features, hidden_size)", "(\n                features,\n                hidden_size,\n            )"
        ),
        SOURCE.replace("\n", "\r\n"),
    ],
)
def test_comments_docstrings_and_layout_are_no_edit(tmp_path, same):
    assert same != SOURCE
    assert written(tmp_path, same).is_shipped


@pytest.mark.parametrize(
    "before, after", [("nn.ReLU", "nn.Tanh"), ("super()", "x = 1\n        super()"), ("self.net(x)", "-self.net(x)")]
)
def test_any_other_change_is(tmp_path, before, after):
    assert not written(tmp_path, SOURCE.replace(before, after, 1)).is_shipped


def test_to_know_it_needs_no_torch():
    code = f"import sys; from plumbline.model import network, model; network.read({str(ROOT / network.PATH)!r})"
    code += "; assert not {'torch', 'numba'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


BROKEN = {
    "a bracket too many": ("self.net(x)", "self.net(x))", r"line 28: unmatched '\)'; mend it"),
    "a zero byte": ("import torch\n", "import torch\0\n", "null bytes"),
    "another name": ("TwoLayerNet", "MyNet", "defines no class TwoLayerNet; give the network that name"),
    "a missing module": (
        "from torch",
        "import nonsense\nfrom torch",
        "line 8: ModuleNotFoundError: No module named 'nonsense'",
    ),
    "an early end": ("import torch\n", "import torch\nraise SystemExit(0)\n", "line 8: SystemExit"),
    "two arguments": (", outputs: int", "", r"TypeError: .*positional arguments"),
    "no module": ("(nn.Module)", "", "AttributeError: 'TwoLayerNet' object has no attribute 'parameters'"),
    "a cut gradient": ("self.net(x)", "self.net(x).detach()", "the logits have no gradient by the parameters"),
    "lazy": ("nn.Linear(features, hidden_size)", "nn.LazyLinear(hidden_size)", "uninitialized parameter"),
    "no layer": (
        "self.net = nn.Sequential",
        "self.net = lambda x: x\n        nn.Sequential",
        "has no parameters to train",
    ),
    "a layer that does not fit": (
        "nn.Linear(hidden_size, outputs)",
        "nn.Linear(7, outputs)",
        r"line 28: RuntimeError: mat1 and mat2",
    ),
    "a column instead of rows": (
        "self.net(x)",
        "self.net(x).squeeze(1)",
        r"forward gives \(64,\) for 64 rows, and must give logits \(64, 1\)",
    ),
    "no logits": ("return self.net(x)", "self.net(x)", "forward gives a NoneType for 64 rows"),
    "dropout in eval": ("self.net(x)", "self.net(nn.functional.dropout(x, 0.5))", "other logits each time"),
    "noise in eval": ("self.net(x)", "self.net(x) + torch.randn(len(x), 1)", "other logits each time"),
    "rows that know one another": ("self.net(x)", "self.net(x) + x.mean()", "depend on the rows beside it"),
    "norms of a batch": (
        "nn.ReLU()",
        "nn.BatchNorm1d(hidden_size, track_running_stats=False)",
        "depend on the rows beside it",
    ),
    "a seed of its own": (
        "super().__init__()",
        "super().__init__(); torch.manual_seed(0)",
        "all networks would be equal",
    ),
    "no width": (
        "super().__init__()",
        "super().__init__(); self.w = nn.Parameter(torch.zeros(hidden_size // 99))",
        "w has no elements; raise train.hidden_size",
    ),
    "bfloat16": (
        "super().__init__()",
        "super().__init__(); self.w = nn.Parameter(torch.zeros(1).bfloat16())",
        "w is bfloat16, which a model file does not hold",
    ),
    "complex": (
        "super().__init__()",
        "super().__init__(); self.w = nn.Parameter(torch.zeros(1) * 1j)",
        "w is complex64",
    ),
    "a layer made by forward": (
        "return self.net(x)",
        "self.more = nn.Linear(1, 1)\n        return self.more(self.net(x))",
        "make them in __init__",
    ),
    "a division by zero": ("self.net(x)", "self.net(x) / (1 // 0)", "line 28: ZeroDivisionError"),
}


def test_too_large_a_network_is_too_little_memory():
    with pytest.raises(MemoryError, match=r"^PyTorch says: .*can't allocate memory: you tried to allocate \d+ bytes"):
        network.blank(SHIPPED, (2**20, 2**40, 1))


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_wrong_in_it_is_one_line(tmp_path, case):
    before, after, message = BROKEN[case]
    source = SOURCE.replace(before, after)
    assert source != SOURCE
    with pytest.raises(UserError, match=rf"edited.py.*{message}") as error:
        network.try_out(written(tmp_path, source), (10, 32, 1))
    assert "\n" not in str(error.value)


def tried(tmp_path, kept, forward):
    """The shipped network tried out with one more line in __init__, and another forward."""
    source = SOURCE.replace("        )\n", f"        )\n        {kept}\n").replace("self.net(x)", forward)
    return network.try_out(written(tmp_path, source), (10, 32, 1))


@pytest.mark.parametrize(
    "kept, forward",
    [
        ("self.first = [nn.Linear(features, features)]", "self.net(self.first[0](x))"),
        ("self.w = torch.randn(features)", "self.net(x * self.w)"),
        ("self.w = torch.randperm(features)", "self.net(x[:, self.w])"),
        ("self.register_buffer('w', torch.zeros(1), persistent=False)", "self.net(x) + self.w.add_(self.training)"),
        ("self.w = [0.0]", "self.net(x) + (self.w.append(self.w[-1] + self.training) or self.w[-1])"),
    ],
)
def test_what_a_model_file_does_not_hold_is_refused(tmp_path, kept, forward):
    """Else one network would be trained, and another scored."""
    with pytest.raises(UserError, match=r"forward uses what is no parameter and no buffer.*; use nn.ModuleList"):
        tried(tmp_path, kept, forward)


@pytest.mark.parametrize(
    "kept, forward",
    [
        ("self.register_buffer('w', torch.ones(1), persistent=False)", "self.net(x) * self.w"),
        ("self.register_buffer('w', torch.zeros(1))", "self.net(x) + self.w.add_(self.training)"),
        ("self.double()", "self.net(x.double())"),
        ("self.half()", "self.net(x.half())"),
        ("self.more = nn.Embedding(2, outputs)", "self.net(x) + self.more(x[:, 0].long())"),
        ("self.norm = nn.BatchNorm1d(features)", "self.net(self.norm(x))"),
        ("self.norm = nn.LayerNorm(features)", "self.net(nn.functional.dropout(self.norm(x), 0.5, self.training))"),
        ("self.t = nn.Parameter(torch.ones(1))", "self.net(x) / self.t"),
        ("self.unused = nn.Linear(3, 3)", "self.net(x).log()"),
    ],
)
def test_whatever_can_be_scored_as_it_is_trained_is_taken(tmp_path, kept, forward):
    assert tried(tmp_path, kept, forward) >= 385


@pytest.mark.parametrize("line", ["from stages.helper import act", "import helper", "import os, stages.helper as h"])
def test_files_that_it_imports_would_change_unseen(tmp_path, monkeypatch, line):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages/helper.py").write_text("act = 1\n")
    (tmp_path / network.PATH).write_text(f"{line}\n{SOURCE}")
    with pytest.raises(UserError, match=r"network\.py line 1 imports stages/helper\.py, .*; put its code into stages/"):
        network.read()


def test_a_file_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"is not there, and defines the network; `git restore"):
        network.read(tmp_path / "none.py")


# ---- models of another network


def tanh_model(tmp_path, members=1, classes=2):
    """Three networks of the file tanh.py, and rows."""
    net, k = written(tmp_path, TANH, "tanh.py"), initial.outputs_for(classes)
    weights = initial.weights([stream.seeded(r) for r in range(3 * members)], 4, 5, k)
    if members > 1:
        weights = {name: array.reshape(3, members, *array.shape[1:]) for name, array in weights.items()}
    _, card = saved(tmp_path / "other.safetensors", classes)
    card = model.Card(card.target, card.classes, card.train_counts, card.encoding, net.tree, 5, members)
    model.save(weights, card, tmp_path / "model.safetensors")
    return weights, net, encoded_rows(100)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("members", [1, 3])
def test_another_module_scores_its_model(tmp_path, members, classes):
    """By hand, with NumPy; the module that a user takes home says the same."""
    weights, net, x = tanh_model(tmp_path, members, classes)
    saved_model = model.load(tmp_path / "model.safetensors", net.path)
    found, inputs = saved_model.probabilities(x, 7), rows.expand(x, saved_model.card.encoding.layout)
    assert found.dtype == np.float32 and found.shape == (3, 100, initial.outputs_for(classes))
    w1, b1, w2, b2 = (
        array.reshape(3, members, *array.shape[1 + (members > 1) :]).astype(float) for array in weights.values()
    )
    hidden = np.tanh(np.einsum("nd,rmhd->rmnh", inputs, w1) + b1[:, :, None])
    logits = (np.einsum("rmnh,rmkh->rmnk", hidden, w2) + b2[:, :, None]).mean(axis=1)
    powers = np.exp(logits)
    np.testing.assert_allclose(
        found, 1 / (1 + 1 / powers) if classes == 2 else powers / powers.sum(-1, keepdims=True), rtol=1e-5
    )
    np.testing.assert_array_equal(found[:2], saved_model.first(2).probabilities(x, 7))
    for replica in (0, 2):
        home = module.load(tmp_path / "model.safetensors", replica, net.path)
        assert not home.training
        with torch.no_grad():
            np.testing.assert_allclose(home(torch.from_numpy(inputs)), logits[replica], rtol=1e-4, atol=1e-6)


def test_scoring_is_in_eval_mode_and_with_the_buffers_of_the_file(tmp_path):
    source = SOURCE.replace("nn.ReLU(),", "nn.BatchNorm1d(hidden_size), nn.ReLU(), nn.Dropout(0.9),")
    net = written(tmp_path, source)
    tensors = network.state(network.blank(net, (4, 5, 1)))
    weights = {name: np.stack([tensor.detach().numpy()] * 2) for name, tensor in tensors.items()}
    weights["net.1.running_mean"][1] -= 3.0
    x = stream.normal(stream.seeded(9), 400).reshape(100, 4)
    first, second = network.probabilities(net, (4, 5, 1), rows.numbers(4), weights, x, 64)
    np.testing.assert_array_equal(first, network.probabilities(net, (4, 5, 1), rows.numbers(4), weights, x, 64)[0])
    assert (first != second).all()


def test_a_model_of_another_network_is_refused_by_name(tmp_path, monkeypatch):
    """The file at hand, one that is named, and none at all."""
    tanh_model(tmp_path)
    saved(tmp_path / "shipped.safetensors")
    monkeypatch.chdir(tmp_path)
    other = r"was trained with another network than .* defines; run `dvc repro`, or name the file"
    with pytest.raises(UserError, match=r"model.safetensors has a network of its own; name the file that defines it"):
        model.load("model.safetensors")
    with pytest.raises(UserError, match=r"^stages/network.py is not there"):
        module.load("shipped.safetensors")
    assert model.load("shipped.safetensors").network is None
    (tmp_path / "stages").mkdir()
    for source, loads, refused in ((TANH, "model", "shipped"), (SOURCE, "shipped", "model")):
        (tmp_path / network.PATH).write_text(source)
        assert model.load(f"{loads}.safetensors").networks == 3
        with pytest.raises(UserError, match=rf"^{refused}.safetensors {other}"):
            model.load(f"{refused}.safetensors")
    assert model.load("model.safetensors", "tanh.py").networks == 3
    with pytest.raises(UserError, match=other):
        model.load("shipped.safetensors", "tanh.py")


@pytest.mark.parametrize("change", [{"net.0.bias": np.zeros((3, 6), np.float32)}, {"net.2.bias": None}])
def test_weights_that_do_not_fit_the_module_are_refused_by_name(tmp_path, change):
    weights, net, _ = tanh_model(tmp_path)
    card = model.load(tmp_path / "model.safetensors", net.path).card
    weights = {name: array for name, array in (weights | change).items() if array is not None}
    model.save(weights, card, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=next(iter(change))):
        model.load(tmp_path / "model.safetensors", net.path)


def test_load_takes_the_shipped_network_home(tmp_path):
    weights, _ = saved(tmp_path / "model.safetensors")
    x = stream.normal(stream.seeded(9), 400).reshape(100, 4)
    home = module.load(tmp_path / "model.safetensors", 2, ROOT / network.PATH)
    assert type(home).__mro__[1] is torch.nn.Module
    with torch.no_grad():
        ours = torch.sigmoid(home(torch.from_numpy(x))).numpy()
    np.testing.assert_allclose(ours, scoring.probabilities(x, weights)[2], rtol=1e-5, atol=1e-7)
    with pytest.raises(UserError, match="3 networks, from 0 to 2, not 3"):
        module.load(tmp_path / "model.safetensors", 3, ROOT / network.PATH)


def gradient_of_a_sure_mistake(loss, logit):
    logits = torch.tensor([[logit]], requires_grad=True)
    loss(logits, torch.tensor([[0.0]])).backward()
    return logits.grad.item()


def test_the_common_pitfall_a_sigmoid_before_the_loss_starves_the_gradient_of_a_sure_mistake():
    right = gradient_of_a_sure_mistake(torch.nn.BCEWithLogitsLoss(), 10.0)
    pitfall = gradient_of_a_sure_mistake(lambda z, y: torch.nn.BCEWithLogitsLoss()(torch.sigmoid(z), y), 10.0)
    assert right == pytest.approx(1.0, abs=1e-4)
    assert abs(pitfall) < 1e-4
    assert "sigmoid(" not in SOURCE
