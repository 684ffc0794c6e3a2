"""A table in pieces and windows, against the same one whole: small pieces and windows here, the same bits."""

import numpy as np
import pandas as pd
import pytest

from plumbline.tables import shuffled, store

OUTPUTS = ("models/model.safetensors", "models/epochs.safetensors", "metrics/evaluate.json", "metrics/history.csv")


def mixed(n=5000):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=n) ** 3, "kind": rng.choice(["x", "y", None], n), "b": rng.random(n)})
    frame.loc[::9, "b"] = None
    frame["day"] = pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 500, n), unit="D")
    frame["y"] = np.where(frame["a"] + rng.normal(size=n) > 0, "no", "yes")
    return frame


@pytest.mark.parametrize("setting", [{}, {"held_out": 0.2, "patience": 1}], ids=str)
def test_training_and_scoring_know_neither_pieces_nor_windows(workspace, monkeypatch, setting):
    mixed().to_parquet(workspace.path("t.parquet"))
    workspace.set(make_data__source="t.parquet", split__train=0.7, split__validation=0.1, train__encoding="robust")
    workspace.set(train__replicas=2, train__epochs=2, **{f"train__{name}": value for name, value in setting.items()})
    with monkeypatch.context() as patch:
        patch.setattr(store, "ROWS", 1000)
        patch.setattr(store, "VALUES", 2048)
        for stage in ("make_data", "split"):
            workspace.run(stage)
        in_pieces = outputs_of(workspace)
    assert outputs_of(workspace) == in_pieces
    seen = []
    monkeypatch.setattr(shuffled.memory, "limit", lambda: 10_000)
    monkeypatch.setattr(shuffled, "_spread", lambda *given: seen.append(given) or spread(*given))
    assert outputs_of(workspace) == in_pieces
    assert seen


spread = shuffled._spread


def outputs_of(workspace):
    """What train and evaluate write and say."""
    said = [workspace.run(stage).stdout for stage in ("train", "evaluate")]
    scored = pd.read_parquet(workspace.path("metrics/predictions.parquet"))
    scored = [scored[name].tolist() for name in ("_row", "part", "target")], np.stack(scored["probability"]).tolist()
    return said, [workspace.path(name).read_bytes() for name in OUTPUTS], scored
