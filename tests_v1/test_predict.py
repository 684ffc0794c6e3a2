"""predict: the model file and a new table are all it needs, and it says what is new about the rows."""

import numpy as np
import pandas as pd
import pytest
from conftest import Project, assert_one_line


def customers(n=240, seed=0):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"age": rng.integers(18, 90, n), "größe, cm": rng.normal(170, 9, n)})
    frame["plan"] = rng.choice(["basic", "plus", "pro"], n)
    frame["since"] = pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 900, n), "D")
    frame["code"] = rng.choice(["01", "02", "x"], n)
    frame["left"] = np.where((frame["age"] > 50) ^ (frame["plan"] == "pro"), "Yes", "No ")
    frame.loc[rng.choice(n, n // 8, replace=False), "age"] = np.nan
    frame.loc[rng.choice(n, n // 12, replace=False), "plan"] = None
    return frame


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """A copy after `dvc repro` on a mixed table with gaps; tests only add files to it."""
    project = Project(tmp_path_factory.mktemp("mixed") / "project")
    customers().to_csv(project.path("customers.csv"), index=False)
    project.set(make_data__source="customers.csv", make_data__target="left", split__stratify=True)
    project.set(split__train=0.6, split__validation=0.2, train__encoding="robust", train__patience=10)
    project.set(train__epochs=60, train__replicas=3, train__weight_decay=0.1)
    project.run("dvc", "repro", "-q")
    return project


def predict(project, *arguments, **options):
    return project.run("python", "-m", "stages.predict", *arguments, **options)


def pipelines_own(project):
    """Row numbers and the three networks' probabilities of the test part."""
    own = pd.read_parquet(project.path("metrics/predictions.parquet"))
    return own["_row"].to_numpy(), np.stack(own["probability"]).astype(float)


@pytest.mark.parametrize("name", ["scored.csv", "scored.parquet"])
@pytest.mark.parametrize("ensemble", [False, True])
def test_predictions_are_the_pipelines_own(mixed, name, ensemble):
    done = predict(mixed, "customers.csv", "--output", name, *(["--ensemble"] if ensemble else []))
    assert "240 rows" in done.stdout
    assert ("mean of 3 networks" if ensemble else "network 0") in done.stdout
    read = pd.read_csv if name.endswith("csv") else pd.read_parquet
    scored = read(mixed.path(name))
    assert list(scored.columns) == ["_row", "predicted", "probability of No ", "probability of Yes"]
    assert scored["_row"].tolist() == list(range(240))
    rows, own = pipelines_own(mixed)
    expected = own.mean(axis=1) if ensemble else own[:, 0]
    np.testing.assert_allclose(scored["probability of Yes"].to_numpy()[rows], expected, rtol=0, atol=1e-7)
    np.testing.assert_allclose(scored.filter(like="probability").sum(axis=1), 1, atol=1e-12)
    yes = scored["probability of Yes"] >= 0.5
    assert scored["predicted"].tolist() == np.where(yes, "Yes", "No ").tolist()


def test_order_extra_columns_and_the_target_do_not_matter_and_neither_does_the_file_type(mixed, tmp_path):
    predict(mixed, "customers.csv", "--output", "first.csv")
    other = customers().drop(columns="left")[["code", "since", "plan", "größe, cm", "age"]]
    other.insert(2, "extra", 1)
    other.to_csv(mixed.path("other.csv.gz"), index=False, sep=";")
    predict(mixed, "other.csv.gz", "--output", "second.csv")
    assert mixed.read("second.csv") == mixed.read("first.csv")
    other.to_parquet(mixed.path("other.parquet"))
    predict(mixed, "other.parquet", "--output", "third.csv")
    assert mixed.read("third.csv") == mixed.read("first.csv")
    (tmp_path / "alone").mkdir()
    mixed.run("cp", "-r", "stages", str(tmp_path / "alone"))
    mixed.run("cp", "models/model.safetensors", "other.parquet", str(tmp_path / "alone"))
    command = ["-m", "stages.predict", "other.parquet", "--model", "model.safetensors", "--output", "fourth.csv"]
    mixed.run("env", "-C", str(tmp_path / "alone"), "python", *command)
    assert (tmp_path / "alone" / "fourth.csv").read_text() == mixed.read("first.csv")


def test_what_training_never_saw_is_counted(mixed):
    new = customers(20, seed=1)
    new["plan"], new["age"], new["since"] = ["gold"] * 5 + ["pro"] * 15, 40.0, pd.NaT
    new.loc[:2, "age"] = 120
    new.to_csv(mixed.path("new.csv"), index=False)
    said = predict(mixed, "new.csv", "--output", "new_scored.csv").stdout
    assert "age: 3 outside the training rows' " in said
    assert "plan: 5 never seen in training ('gold')" in said
    assert "since: 20 missing, and none was in training" in said
    assert np.isfinite(pd.read_csv(mixed.path("new_scored.csv"))["probability of Yes"]).all()


def test_several_classes_and_no_rows(three_classes, tmp_path):
    rows = pd.read_parquet(three_classes.path("data/test.parquet"))
    rows.to_parquet(tmp_path / "t.parquet")
    predict(three_classes, str(tmp_path / "t.parquet"), "--output", str(tmp_path / "s.parquet"))
    scored = pd.read_parquet(tmp_path / "s.parquet")
    own = pd.read_parquet(three_classes.path("metrics/predictions.parquet")).query("part == 'test'")
    p = np.stack(own["probability"]).reshape(len(own), 4, 3)[:, 0]
    np.testing.assert_allclose(scored.filter(like="probability of"), p, atol=1e-7)
    assert scored["predicted"].tolist() == p.argmax(axis=1).tolist()
    rows.iloc[:0].to_parquet(tmp_path / "none.parquet")
    predict(three_classes, str(tmp_path / "none.parquet"), "--output", str(tmp_path / "none_scored.parquet"))
    assert len(pd.read_parquet(tmp_path / "none_scored.parquet")) == 0


def test_what_cannot_be_predicted_on_is_one_line_and_writes_nothing(mixed):
    frame = customers(9)
    cases = {
        "missing": (frame.drop(columns="größe, cm"), ["'größe, cm' is missing"]),
        "text": (frame.assign(age=["old"] * 9), ["'age' holds string ('old' in row 0)", "a number"]),
        "dates": (frame.assign(since=3), ["'since' holds int64", "an instant"]),
    }
    for name, (changed, words) in cases.items():
        changed.to_csv(mixed.path(f"{name}.csv"), index=False)
        assert_one_line(predict(mixed, f"{name}.csv", "--output", "wrong.csv", fails=True), *words)
    assert_one_line(predict(mixed, "missing.csv", "--output", "wrong.xlsx", fails=True), ".parquet or .csv")
    assert_one_line(predict(mixed, "missing.csv", "--output", "missing.csv", fails=True), "would overwrite it")
    assert_one_line(predict(mixed, "none.csv", "--output", "wrong.csv", fails=True), "none.csv is not there")
    options = ["--model", "none.safetensors"]
    assert_one_line(predict(mixed, "text.csv", "--output", "wrong.csv", *options, fails=True), "dvc checkout")
    assert not mixed.path("wrong.csv").exists()
