"""Each benchmark runs, in a tiny size; and what they measure is the same training."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT

from plumbline.bits import initial, kernel, layers, stream

FOLDER = ROOT / "benchmarks"
sys.path.append(str(FOLDER))
SHARED = ("scratch", "peers", "datasets", "rivals")  # what benchmarks import
NAMES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in SHARED)


@pytest.mark.parametrize("name", NAMES)
def test_it_runs(name):
    if name == "hosts" and (os.getuid() != 0 or not shutil.which("ip") or not shutil.which("tc")):
        pytest.skip("network namespaces need root, ip and tc")
    command, machine = [sys.executable, FOLDER / f"{name}.py", "--smoke"], os.environ | {"OMP_NUM_THREADS": "1"}
    before = {path: path.stat().st_mtime_ns for path in (FOLDER / "results").iterdir()}
    done = subprocess.run(command, cwd=ROOT, env=machine, capture_output=True, text=True, timeout=300)
    assert not done.returncode, done.stdout + done.stderr
    assert done.stdout.count("\n") > 1
    assert {path: path.stat().st_mtime_ns for path in (FOLDER / "results").iterdir()} == before


@pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler")
@pytest.mark.parametrize("n, batch", [(100, 32), (700, 300)])
def test_hand_written_c_trains_what_the_kernel_trains(tmp_path, n, batch):
    import training

    x = stream.normal(stream.seeded(1), n * 10).reshape(n, 10)
    y = (x[:, 0] > x[:, 1] * x[:, 2]).astype(np.int32)
    weights = initial.weights([stream.seeded(0)], 10, 32, 1)
    ours, packed = kernel.Trainer(weights, batch, 0.01), layers.pack(weights)[0]
    state = packed, np.zeros_like(packed), np.zeros_like(packed), np.ones(2)
    epoch = training.c_epoch(training.compile_c(tmp_path))
    for number in range(5):
        order = stream.permutation(stream.seeded(number), n).astype(np.int32)
        sums, unshuffled = np.zeros((1, 2)), 0  # in place of a seed
        loss = epoch(x, y.astype(np.float32), order.copy(), n, batch, 0.01, unshuffled, *state)
        ours.train(x, y, order[None], sums)
        assert loss == pytest.approx(sums[0, layers.LOSS] / n, rel=1e-4)
    np.testing.assert_allclose(packed, layers.pack(ours.weights())[0], atol=3e-4)


def test_the_plot_is_of_the_table(tmp_path):
    import training

    jobs = training.measured((FOLDER / "results/training.txt").read_text())
    assert list(jobs) == [job.name for job in training.JOBS]
    assert all(speed > 0 and "kernel" in next(iter(sides)) for sides in jobs.values() for speed in sides.values())
    training.draw(jobs, tmp_path / "plot.svg")
    assert "</svg>" in (tmp_path / "plot.svg").read_text()


def test_the_first_version_is_measured_by_its_own_code(tmp_path):
    import scratch

    if not scratch.first_version_code(tmp_path / "first"):
        pytest.skip("git has no commit of the first version here, as in a shallow clone")
    first = scratch.Copy(tmp_path / "first")
    told = first.run("python", "-c", "from stages import kernel; print(kernel.__file__)")
    assert told.strip() == str(tmp_path / "first/stages/kernel.py")


def test_a_rival_is_measured_once(tmp_path, monkeypatch):
    """For the rows that it was measured on; one that was too slow is tried on no larger table."""
    import pandas as pd
    import rivals

    def fit(rows):
        fitted.append(rows)
        if len(rows.all) > 100:
            raise rivals.TooSlowError
        share = np.bincount(rows.y) / len(rows.y)
        return lambda: np.tile(share, (len(rows.test), 1))

    def parts(n, split):
        frame = pd.DataFrame(
            {"x": np.arange(n), "of": ["a", None] * (n // 2), "y": ["no", "yes", "yes", "yes"] * (n // 4)}
        )
        return rivals.Parts(frame, frame[:40], "y", n, split)

    def figures(name, *parts_of, models=("share", "absent")):
        peers = rivals.Peers(path, models)
        peers.fill(name, parts(*parts_of), 0)
        return peers.table(name, [0])

    fitted, path = [], tmp_path / "peers.jsonl"
    monkeypatch.setattr(rivals, "MODELS", {"share": ("scikit-learn", fit), "absent": ("no_such_package", fit)})
    for _ in range(2):
        loss, area, _ = figures("t", 80, "a")["share"][0]
        assert loss == pytest.approx(-np.log([0.25, 0.75]) @ [0.25, 0.75], rel=1e-3)
        assert area == 0.5
    assert len(fitted) == 1
    assert not figures("u", 120, "u")
    assert not figures("v", 160, "v")
    assert [len(rows.all) for rows in fitted] == [80, 120]
    assert "share" in figures("t", 80, "a", models=[])
    with pytest.raises(SystemExit, match="t has figures of one seed on different rows"):
        figures("t", 80, "other rows")
    assert [len(rows.all) for rows in fitted] == [80, 120, 80]


def test_seconds_stand_beside_those_of_the_same_machine(tmp_path):
    import rivals
    import tables

    path, lines = tmp_path / "peers.jsonl", []
    for model, machine, device in [
        ("network 0", "one", "cpu"), ("RealMLP", "one", "cpu"), ("CatBoost", "two", "cpu"), ("TabM", "one", "cuda")
    ]:  # fmt: skip
        line = {"table": "t", "seed": 0, "model": model, "split": "a", "rows": 9, "log_loss": 0.5, "roc_auc": 0.5}
        lines.append(json.dumps(line | {"seconds": 1.0, "version": "1", "machine": machine, "device": device}))
    path.write_text("\n".join(lines))
    peers = rivals.Peers(path, [])
    seconds = {model: of[0][2] for model, of in peers.table("t", [0]).items()}
    assert [model for model in seconds if seconds[model] == 1.0] == ["network 0", "RealMLP"]
    assert np.isnan([seconds["CatBoost"], seconds["TabM"]]).all()
    assert tables.cell([seconds["CatBoost"]], 1, 1) == "-"
    assert [line.split(":")[0] for line in tables.machines(peers)][:2] == [
        "Fits by one", "Fits by one, on its GPU (cuda; only log loss and ROC AUC are taken)"
    ]  # fmt: skip


def test_wins_are_counted_with_the_noise_of_the_splits():
    import tables

    def table(ours, theirs):
        sides = {"ensemble": ours, "CatBoost": theirs, "LightGBM": [loss + 1 for loss in theirs]}
        return {name: {seed: [loss, 0.5, 1.0] for seed, loss in enumerate(losses)} for name, losses in sides.items()}

    told = [
        table([0.5, 0.6, 0.7], [0.6, 0.7, 0.801]),  # better
        table([0.5, 0.6, 0.7], [0.51, 0.51, 0.81]),  # better, by noise
        table([0.51, 0.61, 0.7101], [0.5, 0.6, 0.7]),  # worse, but within 3 %
        table([0.6, 0.7, 0.801], [0.5, 0.6, 0.7]),  # worse
        table([], [0.1]),  # not measured
    ]
    (line,) = tables.against(told, "ensemble", ("CatBoost", "LightGBM"))
    assert "at or below on 2 of 4 tables, within 3 % on 3; better by more than noise on 1, worse on 2" in line
    told[0]["LightGBM"] = {}
    (line,) = tables.against(told, "ensemble", ("CatBoost", "LightGBM"))
    assert "CatBoost and LightGBM (one alone on 1), log loss: at or below on 2 of 4" in line
    for figures in told:
        figures["network 0"] = figures["ensemble"]
    assert list(tables.aims(told[:2])) == [
        f"Wanted: {what} the better of CatBoost and LightGBM on {share} of tables. "
        "network 0: 2 of 2, met; ensemble: 2 of 2, met"
        for what, share in [("at or below", "67 %"), ("within 3 % of", "83 %")]
    ]
    assert "2 of 4, missed" in next(tables.aims(told))
    low, high = tables.interval(np.array([1.0, 2.0, 3.0]))
    assert (low + high) / 2 == 2
    assert high - low == pytest.approx(
        2 * 4.302653 * (1 / 3 + 1 / 4) ** 0.5
    )  # t of 2 degrees of freedom; 20 % are tested


def test_no_table_chose_the_setting_and_did_not():
    import datasets

    places = [(source.package, source.path) for source in datasets.CHOSE + datasets.LOOKED_AT + datasets.NOTHING_CHOSEN]
    assert len(set(places)) == len(places)
    assert len(datasets.NOTHING_CHOSEN) >= 25
    assert all(source.target not in " ".join(source.drop).split() for source in datasets.NOTHING_CHOSEN)
