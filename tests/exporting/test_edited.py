"""A module of the user's own: exported by PyTorch with what stands before and after it, or refused in one line."""

import numpy as np
import onnx
import onnxruntime
import pyarrow as pa
import pytest
from conftest import ROOT
from making import FACTS, stored

from plumbline.basics.errors import UserError
from plumbline.exporting import graph
from plumbline.model import network as networks
from plumbline.model.model import Card, Model
from plumbline.scores import metrics
from plumbline.tables import encoding


def model_of(tmp_path, old, new, fitted, members=1):
    """Two networks of an edited module, of random weights."""
    file = tmp_path / "network.py"
    shipped = (ROOT / "stages/network.py").read_text()
    assert old in shipped
    file.write_text(shipped.replace(old, new))
    network, rng = networks.read(file), np.random.default_rng(0)
    front = (2, members) if members > 1 else (2,)
    weights = {}
    for name, tensor in networks.state(networks.blank(network, (fitted.width, 8, 1))).items():
        drawn = rng.uniform(0.1, 1.0, (*front, *tensor.shape))
        weights[name] = drawn.astype(str(tensor.dtype).removeprefix("torch."))
    return Model(weights, Card("y", ["no", "yes"], [1, 1], fitted, network.tree, 8, members), network)


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    columns = {"y": rng.choice(["no", "yes"], 90), "linear": rng.normal(size=90), "plan": rng.choice(["a", "b"], 90)}
    return pa.table(columns)


def test_it_answers_as_predict_does(tmp_path, table):
    fitted = encoding.fit(stored(table, FACTS), "mixed")
    model = model_of(tmp_path, "nn.ReLU()", "nn.BatchNorm1d(hidden_size), nn.Tanh(), nn.Dropout()", fitted, members=2)
    file = graph.made(model, {})
    onnx.checker.check_model(file, full_check=True)
    given = {"linear": np.array(table["linear"])[:, None], "plan": np.array(table["plan"], object)[:, None]}
    label, probability = onnxruntime.InferenceSession(file.SerializeToString()).run(None, given)
    mean = metrics.ensemble(model.probabilities(encoding.encode(fitted, stored(table))))
    np.testing.assert_allclose(probability, metrics.by_class(mean), rtol=0, atol=1e-6)
    assert label.tolist() == np.array(["no", "yes"])[metrics.predicted(mean)].tolist()


@pytest.mark.parametrize("hostile", ["self.net(x) if x.sum() > 0 else x", "self.net(x) * (1 if len(x) > 9 else 2)"])
def test_what_no_graph_can_say_is_refused(tmp_path, table, hostile, capfd):
    model = model_of(tmp_path, "self.net(x)", hostile, encoding.fit(stored(table, FACTS), "robust"))
    with pytest.raises(UserError, match=r"PyTorch cannot export it \(.*\); `plumbline predict` scores it as it is"):
        graph.made(model, {})
    assert capfd.readouterr() == ("", "")
