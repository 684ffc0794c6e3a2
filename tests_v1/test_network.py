import pandas as pd
import pytest
import torch
from conftest import ROOT

from stages import model, network, stream


def test_the_notebooks_network_has_385_parameters_and_gives_logits():
    module = network.TwoLayerNet(10, 32, 1)
    assert sum(p.numel() for p in module.parameters()) == 385
    assert [type(layer).__name__ for layer in module.net] == ["Linear", "ReLU", "Linear"]
    logits = module(100 * torch.randn(50, 10))
    assert logits.shape == (50, 1)
    assert logits.min() < 0  # a sigmoid would have hidden the sign
    assert logits.max() > 1


def test_initial_weights_are_those_that_torch_draws():
    for seed, (d, h, k) in enumerate([(10, 32, 1), (3, 7, 4), (50, 256, 1), (1, 1, 1)]):
        ours = model.initial_weights([stream.seeded(seed)], d, h, k)
        torch.manual_seed(seed)
        for name, theirs in network.TwoLayerNet(d, h, k).state_dict().items():
            assert torch.equal(torch.from_numpy(ours[name][0]), theirs), (name, d, h, k)


def test_load_agrees_with_the_pipelines_own_predictions(default):
    predictions = pd.read_parquet(default.path("metrics/predictions.parquet"))
    rows = pd.read_parquet(default.path("data/test.parquet"))
    features = torch.tensor(rows[[f"x{i}" for i in range(10)]].to_numpy(), dtype=torch.float32)
    for replica in (0, 1, 31):
        module = network.load(default.path("models/model.safetensors"), replica=replica)
        assert type(module).__mro__[1] is torch.nn.Module
        with torch.no_grad():
            ours = torch.sigmoid(module(features))[:, 0]
        theirs = torch.tensor([row[replica] for row in predictions["probability"]])
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)


def test_load_refuses_a_replica_that_is_not_there(default):
    with pytest.raises(network.UserError, match="32 networks, from 0 to 31, not 32"):
        network.load(default.path("models/model.safetensors"), replica=32)


def gradient_of_a_sure_mistake(loss, logit):
    logits = torch.tensor([[logit]], requires_grad=True)
    loss(logits, torch.tensor([[0.0]])).backward()
    return logits.grad.item()


def test_the_common_pitfall_a_sigmoid_before_the_loss_and_that_this_code_is_free_of_it():
    """A second sigmoid starves the gradient of a confident mistake; the loop here and the kernel pass logits on."""
    right = gradient_of_a_sure_mistake(torch.nn.BCEWithLogitsLoss(), 10.0)
    pitfall = gradient_of_a_sure_mistake(lambda z, y: torch.nn.BCEWithLogitsLoss()(torch.sigmoid(z), y), 10.0)
    assert right == pytest.approx(1.0, abs=1e-4)
    assert abs(pitfall) < 1e-4

    import numpy as np

    from stages import kernel

    # One feature, one hidden unit, all weights 1 and biases 0: the logit is x = 10, the answer 0. After one step of
    # Adam a weight has moved by the learning rate whatever the gradient, so the loss is what tells.
    weights = {"net.0.weight": [[[1.0]]], "net.0.bias": [[0.0]], "net.2.weight": [[[1.0]]], "net.2.bias": [[0.0]]}
    weights = {name: np.array(values, np.float32) for name, values in weights.items()}
    x, y, order = np.array([[10.0]], np.float32), np.array([0], np.int32), np.array([[0]])
    for trainer in (kernel.Trainer(x, y, weights, 1, 0.1), network.Trainer(x, y, weights, 1, 0.1)):
        assert trainer.epoch(order)[0, 0] == pytest.approx(10.0, abs=1e-3)  # -log(1 - sigmoid(sigmoid(10))) is 1.31
    assert "sigmoid(" not in (ROOT / "stages" / "network.py").read_text()
