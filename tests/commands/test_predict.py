"""predict: the model file and a new table are all it needs, and it says what is new about the rows."""

import concurrent.futures
import contextlib
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import ENVIRONMENT, ROOT, Workspace, assert_one_line

import plumbline
from plumbline.basics import inputs
from plumbline.model import sealed


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
def ran(tmp_path_factory):
    """A folder after all stages on a mixed table with gaps; tests only add files to it."""
    made = Workspace(tmp_path_factory.mktemp("mixed") / "project")
    customers().to_csv(made.path("customers.csv"), index=False)
    made.set(make_data__source="customers.csv", make_data__target="left", split__stratify=True)
    made.set(split__train=0.6, split__validation=0.2, train__encoding="robust", train__patience=10)
    made.set(train__epochs=60, train__replicas=3, train__weight_decay=0.1)
    with contextlib.chdir(made.folder):
        made.repro()
    return made


@pytest.fixture
def mixed(ran, monkeypatch):
    monkeypatch.chdir(ran.folder)
    return ran


def predict(project, *arguments, **options):
    return project.run("commands.predict", *arguments, **options)


@pytest.mark.parametrize("name", ["scored.csv", "scored.parquet"])
@pytest.mark.parametrize("ensemble", [False, True])
def test_predictions_are_the_pipelines_own(mixed, name, ensemble):
    done = predict(mixed, "customers.csv", "--output", name, *(["--ensemble"] if ensemble else []))
    assert "240 rows" in done.stdout
    assert ("mean of 3 networks" if ensemble else "network 0") in done.stdout
    scored = (pd.read_csv if name.endswith("csv") else pd.read_parquet)(name)
    assert list(scored.columns) == ["_row", "predicted", "probability_No", "probability_Yes", "warnings"]
    assert scored["_row"].tolist() == list(range(240))
    own = pd.read_parquet("metrics/predictions.parquet")
    p = np.stack(own["probability"]).astype(float)
    expected = p.mean(axis=1) if ensemble else p[:, 0]
    np.testing.assert_allclose(scored["probability_Yes"].to_numpy()[own["_row"]], expected, rtol=0, atol=1e-7)
    np.testing.assert_allclose(scored.filter(like="probability").sum(axis=1), 1, atol=1e-12)
    yes = scored["probability_Yes"] >= 0.5
    assert scored["predicted"].tolist() == np.where(yes, "Yes", "No ").tolist()
    assert not list(mixed.folder.glob(".*scratch"))


def test_a_csv_has_every_digit_of_a_probability(mixed):
    for name in ("scored.csv", "scored.parquet"):
        predict(mixed, "customers.csv", "--output", name)
    lines = mixed.read("scored.csv").splitlines()
    assert lines[0] == "_row,predicted,probability_No,probability_Yes,warnings"
    exact = pd.read_parquet("scored.parquet")["probability_Yes"]
    assert [float(line.split(",")[3]) for line in lines[1:]] == exact.tolist()


def test_a_threshold_is_where_the_positive_class_begins(mixed):
    done = predict(mixed, "customers.csv", "--output", "low.csv", "--threshold", "0.3")
    assert "'Yes' from probability 0.3 on" in done.stdout
    scored = pd.read_csv("low.csv")
    yes = scored["probability_Yes"] >= 0.3
    assert scored["predicted"].tolist() == np.where(yes, "Yes", "No ").tolist()
    assert yes.sum() > (scored["probability_Yes"] >= 0.5).sum()
    predict(mixed, "customers.csv", "--output", "all.csv", "--threshold", "0")
    assert set(pd.read_csv("all.csv")["predicted"]) == {"Yes"}
    # What thresholds.csv says of network 0 on the validation part is what comes out
    validation = pd.read_parquet("data/validation.parquet")
    validation.to_parquet("validation.parquet")
    best = pd.read_csv("metrics/thresholds.csv").sort_values("f1").iloc[-1]
    predict(mixed, "validation.parquet", "--output", "best.csv", "--threshold", str(best["threshold"]))
    said = pd.read_csv("best.csv")["predicted"] == "Yes"
    assert said.mean() == pytest.approx(best["flagged"], rel=1e-5)
    assert (said & (validation["left"] == "Yes")).sum() / said.sum() == pytest.approx(best["precision"], rel=1e-5)


def test_a_threshold_that_cannot_be_is_one_line(mixed, workspace):
    mixed_folder = mixed.folder
    for wrong in ("1.5", "-0.1", "nan"):
        with contextlib.chdir(mixed_folder):
            done = predict(mixed, "customers.csv", "--output", "wrong.csv", f"--threshold={wrong}", fails=True)
        assert_one_line(done, "--threshold must be a probability, from 0 to 1")
    workspace.set(make_data__classes=3, train__replicas=1, train__epochs=1)
    workspace.repro()
    done = predict(workspace, "data/test.parquet", "--output", "s.csv", "--threshold", "0.3", fails=True)
    assert_one_line(done, "--threshold 0.3 is for two classes, and the model has 3")


def test_the_positive_class_of_the_parameters_is_the_one_with_the_threshold(workspace):
    workspace.set(make_data__positive=0, train__replicas=1, train__epochs=2)
    workspace.repro()
    done = predict(workspace, "data/test.parquet", "--output", "s.csv", "--threshold", "0.2")
    assert "0 from probability 0.2 on" in done.stdout
    scored = pd.read_csv("s.csv")
    assert scored["predicted"].tolist() == np.where(scored["probability_0"] >= 0.2, 0, 1).tolist()


def test_order_extra_columns_and_the_target_do_not_matter_and_neither_does_the_file_type(mixed, tmp_path):
    predict(mixed, "customers.csv", "--output", "first.csv")
    other = customers().drop(columns="left")[["code", "since", "plan", "größe, cm", "age"]]
    other.insert(2, "extra", 1)
    other.to_csv("other.csv.gz", index=False, sep=";")
    predict(mixed, "other.csv.gz", "--output", "second.csv")
    assert mixed.read("second.csv") == mixed.read("first.csv")
    other.to_parquet("other.parquet")
    predict(mixed, "other.parquet", "--output", "third.csv")
    assert mixed.read("third.csv") == mixed.read("first.csv")
    for part in range(3):  # a folder of it
        (mixed.folder / "parts").mkdir(exist_ok=True)
        other[80 * part : 80 * (part + 1)].to_parquet(f"parts/{part}.parquet")
    predict(mixed, "parts", "--output", "fourth.csv")
    assert mixed.read("fourth.csv") == mixed.read("first.csv")


def test_the_model_file_is_enough_elsewhere(mixed, tmp_path):
    for name in ("models/model.safetensors", "customers.csv"):
        shutil.copy(name, tmp_path)
    command = ["plumbline", "predict", "customers.csv", "--model", "model.safetensors", "--output", "scored.csv"]
    options = {"env": ENVIRONMENT | {"PYTHONPATH": str(ROOT)}, "check": True, "capture_output": True}
    subprocess.run([sys.executable, "-m", *command], cwd=tmp_path, **options)
    predict(mixed, "customers.csv", "--output", "here.csv")
    assert (tmp_path / "scored.csv").read_text(encoding="utf-8") == mixed.read("here.csv")


def test_pieces_are_the_whole_and_a_folder_is_its_rows(mixed, monkeypatch):
    from plumbline.commands import classifier

    frame = pd.read_csv("customers.csv", dtype={"code": str}, parse_dates=["since"])
    mixed.path("cut").mkdir()
    for start in range(0, len(frame), 40):
        part = frame[start : start + 40].astype({"plan": "category", "since": "datetime64[s]"})
        part.to_parquet(f"cut/{start:03}.parquet", index=False)
    predict(mixed, "customers.csv", "--output", "whole.csv", "--ensemble", "--keep", "all")
    monkeypatch.setattr(classifier, "VALUES", 100)  # 7 rows or so at a time
    for given in ("customers.csv", "cut"):
        predict(mixed, given, "--output", "pieces.csv", "--ensemble", "--keep", "all")
        pieces, whole = (pd.read_csv(name, parse_dates=["since"]) for name in ("pieces.csv", "whole.csv"))
        pd.testing.assert_frame_equal(pieces, whole, check_exact=True)


def test_what_training_never_saw_is_counted(mixed):
    new = customers(20, seed=1)
    new["plan"], new["age"], new["since"] = ["gold"] * 5 + ["pro"] * 15, 40.0, pd.NaT
    new.loc[:2, "age"] = 120
    new.to_csv("new.csv", index=False)
    said = predict(mixed, "new.csv", "--output", "new_scored.csv").stdout
    train = pd.read_parquet("data/train.parquet")
    high = f"age: above training's {train['age'].max():g}"
    assert f"{high} (3 rows)" in said
    assert "plan: never seen in training (5 rows: 'gold')" in said
    assert "since: missing, and never so in training (20 rows)" in said
    scored = pd.read_csv("new_scored.csv")
    assert np.isfinite(scored["probability_Yes"]).all()
    new_plan, gap = "plan: never seen in training", "since: missing, and never so in training"
    expected = [f"{high}; {gap}; {new_plan}"] * 3 + [f"{gap}; {new_plan}"] * 2 + [gap] * 15
    assert scored["warnings"].tolist() == expected


def test_no_warning_on_the_training_rows_and_instants_are_told_as_such(mixed):
    predict(mixed, "data/train.parquet", "--output", "train_scored.parquet")
    assert pd.read_parquet("train_scored.parquet")["warnings"].isna().all()
    customers(3).assign(since=pd.Timestamp("1999-12-31")).to_csv("old.csv", index=False)
    first = pd.read_parquet("data/train.parquet")["since"].min()
    assert f"since: below training's {first} (3 rows)" in predict(mixed, "old.csv", "--output", "old_scored.csv").stdout


KEPT = pd.DataFrame(
    {
        "id": [f"{i:04}" for i in range(9)],
        "note, long": ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "'=x", "a=b", None, "1-"],
        "balance": [-1.5, 2.0, -3.25, 0.1, 1e-7, 1e22, -0.0, None, 3.0],
        "when": pd.date_range("2024-05-01", periods=9),
        "=cmd": ["plain"] * 9,
    }
)


@pytest.mark.parametrize("read", ["csv", "parquet"])
def test_columns_that_are_kept_come_as_they_were(mixed, read):
    frame = pd.concat([KEPT, customers(9).drop(columns="left")], axis=1)
    frame.to_csv("kept.csv", index=False)
    frame.to_parquet("kept.parquet")
    keep = ["--keep", 'balance,id,"note, long",when,=cmd']
    predict(mixed, f"kept.{read}", "--output", "k.parquet", *keep)
    scored = pd.read_parquet("k.parquet")
    assert list(scored.columns[:7]) == ["_row", "balance", "id", "note, long", "when", "=cmd", "predicted"]
    scored = scored.assign(when=pd.to_datetime(scored["when"]))  # days in a CSV
    pd.testing.assert_frame_equal(scored[KEPT.columns], KEPT, check_dtype=False)
    predict(mixed, f"kept.{read}", "--output", "k.csv", *keep, "--raw")
    raw = pd.read_csv("k.csv", dtype={"id": str}, parse_dates=["when"])
    pd.testing.assert_frame_equal(raw[KEPT.columns], KEPT, check_dtype=False)
    predict(mixed, f"kept.{read}", "--output", "k.csv", *keep)
    safe = pd.read_csv("k.csv", dtype={"id": str})
    told = ["'=1+1", "'+1", "'-1", "'@SUM(A1)", "'\tx", "'=x", "a=b", np.nan, "1-"]
    assert safe["note, long"].tolist()[:7] == told[:7]
    assert safe["note, long"].isna().tolist() == [text is np.nan for text in told]
    assert safe["balance"].tolist()[:7] == KEPT["balance"].tolist()[:7]
    assert "'=cmd" in safe.columns


def test_all_columns_can_be_kept_and_a_name_that_cannot_is_one_line(mixed):
    frame = customers(9)
    frame.to_csv("kept.csv", index=False)
    predict(mixed, "kept.csv", "--output", "k.parquet", "--keep", "all")
    assert list(pd.read_parquet("k.parquet").columns[1:-4]) == list(frame.columns)
    for keep, words in {
        "nobody": ["no column 'nobody' to keep"],
        "Age": ["no column 'Age' to keep", "did you mean 'age'"],
        "age,,code": ["no column '' to keep"],
    }.items():
        assert_one_line(predict(mixed, "kept.csv", "--output", "w.csv", "--keep", keep, fails=True), *words)
    frame.assign(Predicted=1).to_csv("twice.csv", index=False)
    done = predict(mixed, "twice.csv", "--output", "w.csv", "--keep", "all", fails=True)
    assert_one_line(done, "'Predicted' cannot be kept")
    predict(mixed, "twice.csv", "--output", "w.csv")


def test_labels_that_begin_as_a_formula_and_names_that_are_alike(mixed):
    from plumbline.commands import predict as command

    assert command.names(["a b", "a_b", "A\u00a0b", "=x"]) == [
        "probability_a_b",
        "probability_a_b_",
        "probability_A_b__",
        "probability_=x",
    ]
    weights, text = sealed.read("models/model.safetensors")
    sealed.write("formula.safetensors", weights, text.replace(b'"No "', b'"-No"').replace(b'"Yes"', b'"=Yes()"'))
    for raw in ([], ["--raw"]):
        predict(mixed, "customers.csv", "--output", "f.csv", "--model", "formula.safetensors", *raw)
        assert set(pd.read_csv("f.csv")["predicted"]) == ({"-No", "=Yes()"} if raw else {"'-No", "'=Yes()"})


def test_a_folder_in_a_folder_out(mixed):
    frame = customers(90).drop(columns="left").assign(id=range(90), _row=0.5)  # as a table has that predict wrote
    frame.loc[3, "plan"] = "gold"
    for part, name in enumerate(["code=01/b.parquet", "code=01/a.parquet", "code=x/[0].parquet"]):
        path = mixed.folder / "hive" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        frame[30 * part : 30 * part + 30].drop(columns="code").to_parquet(path)
    done = predict(mixed, "hive", "--output", "hive_scored", "--keep", "id")
    assert "hive_scored: 90 rows" in done.stdout and "plan: never seen in training (1 row: 'gold')" in done.stdout
    predict(mixed, "hive", "--output", "whole.parquet", "--keep", "id")
    whole = pd.read_parquet("whole.parquet")
    names = ["code=01/a.parquet", "code=01/b.parquet", "code=x/[0].parquet"]
    found = sorted(str(path.relative_to("hive_scored")) for path in Path("hive_scored").rglob("*.parquet"))
    assert found == names
    parts = [pq.read_table(f"hive_scored/{name}", partitioning=None).to_pandas() for name in names]
    assert [len(part) for part in parts] == [30] * 3
    pd.testing.assert_frame_equal(pd.concat(parts, ignore_index=True), whole)
    assert parts[0]["id"].tolist() == list(range(30, 60))
    done = predict(mixed, "hive", "--output", "hive_scored", fails=True)
    assert_one_line(done, "hive_scored is there and is no empty folder")
    assert_one_line(predict(mixed, "hive", "--output", "out.xlsx", fails=True), ".parquet or .csv")
    assert_one_line(predict(mixed, "customers.csv", "--output", "out", fails=True), ".parquet or .csv")
    path = mixed.folder / "hive" / names[1]
    content, place = bytearray(path.read_bytes()), pq.read_metadata(path).row_group(0).column(0).data_page_offset
    content[place : place + 30] = bytes(30)
    path.write_bytes(content)
    for keep in ([], ["--keep", "id"]):
        done = predict(mixed, "hive", "--output", "damaged.csv", *keep, fails=True)
        assert_one_line(done, f"hive/{names[1]} cannot be read as its name says")
    assert not list(mixed.folder.glob(".*scratch")) and not Path("damaged.csv").exists()


# ---- in Python


def frames_of(frame):
    yield frame
    yield pa.Table.from_pandas(frame, preserve_index=False)
    polars = pytest.importorskip("polars")
    yield polars.from_pandas(frame)


@pytest.mark.parametrize("ensemble", [False, True])
def test_a_frame_in_python_gives_the_commands_probabilities_to_the_bit(mixed, ensemble):
    model = plumbline.load("models/model.safetensors", ensemble=ensemble)
    assert (model.classes_.tolist(), model.classes_.dtype.kind) == (["No ", "Yes"], "U")
    assert sorted(model.feature_names_in_) == ["age", "code", "größe, cm", "plan", "since"]
    frame = customers(seed=3).assign(age=lambda t: t["age"] + 30)
    frame.to_parquet("frame.parquet")
    predict(mixed, "frame.parquet", "--output", "f.parquet", *(["--ensemble"] if ensemble else []))
    scored = pd.read_parquet("f.parquet")
    probability = scored.filter(like="probability_").to_numpy()
    for given in frames_of(frame):
        np.testing.assert_array_equal(model.predict_proba(given), probability)
        assert model.predict(given).tolist() == scored["predicted"].tolist()
        assert [said or "" for said in model.warnings(given)] == scored["warnings"].fillna("").tolist()
    odd = frame.drop(columns="left").sample(frac=1, random_state=1)  # an index in disorder, other kinds of columns
    given = odd.assign(plan=odd["plan"].astype("category"), age=odd["age"].astype("Int64"), junk=[object()] * len(odd))
    np.testing.assert_array_equal(model.predict_proba(given[given.columns[::-1]]), probability[odd.index])
    half = frame.assign(**{"größe, cm": np.float16(170)})
    np.testing.assert_array_equal(model.predict_proba(half), model.predict_proba(half.assign(**{"größe, cm": 170.0})))
    assert model.predict_proba(frame[:0]).shape == (0, 2)
    assert model.predict(frame[:0]).dtype.kind == "U"


def test_scikit_learn_takes_it_for_a_classifier(mixed):
    from sklearn.inspection import permutation_importance
    from sklearn.metrics import accuracy_score, get_scorer

    model, frame = plumbline.load("models/model.safetensors"), customers()
    right = accuracy_score(frame["left"], model.predict(frame))
    assert model.score(frame, frame["left"]) == right == get_scorer("accuracy")(model, frame, frame["left"])
    assert get_scorer("roc_auc")(model, frame, frame["left"]) > 0.5
    found = permutation_importance(
        model, frame.drop(columns="left"), frame["left"], n_repeats=1, scoring="neg_log_loss"
    )
    assert found.importances_mean.shape == (6 - 1,)


def test_threads_share_a_model(mixed):
    model, frame = plumbline.load("models/model.safetensors"), customers(40)
    alone = model.predict_proba(frame)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for given in pool.map(model.predict_proba, [frame] * 12):
            np.testing.assert_array_equal(given, alone)


def test_what_cannot_be_scored_in_python_is_one_class_of_error(mixed):
    model, frame = plumbline.load("models/model.safetensors"), customers(9)
    for given, words in [
        (frame.drop(columns="age"), "column 'age' is missing"),
        (frame.rename(columns={"age": "Age"}), "did you mean 'Age'"),
        (frame.assign(age="old"), "'age' holds 'old' in row 0"),
        (frame.assign(since=3), "'since' holds bigint"),
        (frame.assign(age=[1, "x"] + [2] * 7), "age"),
        (frame.assign(age=[[1.0]] * 9), "'age' holds"),
        (frame.assign(plan=[["pro"]] * 9), "'plan' holds varchar[]"),
        (frame.assign(plan=pd.Series(["\ud800"] * 9, dtype=object)), "surrogates not allowed"),
        (frame["age"], "not Series"),
        (pa.chunked_array([[1]]), "cannot be read"),
        (pd.concat([frame, frame[["age"]]], axis=1), "columns 'age' and 'age'"),
        (frame.to_numpy(), "not ndarray"),
        ({"age": [1]}, "not dict"),
        ("customers.csv", "not str"),
        (None, "not NoneType"),
    ]:
        with pytest.raises(plumbline.UserError) as error:
            model.predict_proba(given)
        assert words in str(error.value)
        assert "\n" not in str(error.value)
    weights, text = sealed.read("models/model.safetensors")
    sealed.write("older.safetensors", weights, text.replace(b'"train_counts"', b'"counts"'))
    Path("junk.safetensors").write_bytes(b"junk")
    for name, words in [("none", "is not there"), ("junk", "is not a model"), ("older", "of this version")]:
        with pytest.raises(plumbline.UserError, match=words):
            plumbline.load(f"{name}.safetensors")


def test_importing_costs_nothing_the_shipped_network_needs_no_torch_and_a_process_may_be_forked(mixed):
    script = """if True:
        import sys, plumbline; few = set(sys.modules)
        import multiprocessing, pandas as pd
        model, frame = plumbline.load("models/model.safetensors"), pd.read_parquet("data/test.parquet")
        own = model.predict_proba(frame)
        with multiprocessing.get_context("fork").Pool(1) as pool:
            assert (pool.apply(model.predict_proba, [frame]) == own).all()
        print(*few, "|", *sys.modules)
    """
    environment = ENVIRONMENT | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "ignore", "-c", script]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=100)
    few, all_of_them = (set(names.split()) for names in done.stdout.split("|"))
    assert not few & {"numpy", "duckdb", "msgspec", "pyarrow"}
    assert not all_of_them & {"torch", "dvc", "scipy", "sklearn", "matplotlib"}


def test_several_classes_and_no_rows(workspace):
    workspace.set(make_data__classes=3, train__replicas=4, train__epochs=3)
    workspace.repro()
    rows = pd.read_parquet("data/test.parquet")
    rows.to_parquet("t.parquet")
    predict(workspace, "t.parquet", "--output", "s.parquet")
    scored = pd.read_parquet("s.parquet")
    own = pd.read_parquet("metrics/predictions.parquet").query("part == 'test'")
    p = np.stack(own["probability"]).reshape(len(own), 4, 3)[:, 0]
    np.testing.assert_allclose(scored.filter(like="probability_"), p, atol=1e-7)
    assert scored["predicted"].tolist() == p.argmax(axis=1).tolist()
    rows.iloc[:0].to_parquet("none.parquet")
    predict(workspace, "none.parquet", "--output", "none_scored.parquet")
    nothing = pd.read_parquet("none_scored.parquet")
    assert (len(nothing), list(nothing.columns)) == (0, list(scored.columns))


def test_an_edited_network_is_scored_by_its_own_file(workspace, tmp_path):
    file = workspace.path("stages/network.py")
    file.write_text(file.read_text().replace("nn.ReLU()", "nn.Tanh()"))
    workspace.set(train__replicas=2, train__epochs=2)
    workspace.repro()
    rows = pd.read_parquet("data/test.parquet")
    rows.to_parquet("t.parquet")
    predict(workspace, "t.parquet", "--output", "s.parquet")
    own = pd.read_parquet("metrics/predictions.parquet").query("part == 'test'")
    expected = np.stack(own["probability"])[:, 0]
    np.testing.assert_allclose(pd.read_parquet("s.parquet")["probability_1"], expected, atol=1e-6)
    elsewhere = tmp_path / "tanh.py"
    shutil.move(file, elsewhere)
    assert_one_line(predict(workspace, "t.parquet", "--output", "n.csv", fails=True), "--network PATH")
    predict(workspace, "t.parquet", "--output", "n.parquet", "--network", str(elsewhere))
    pd.testing.assert_frame_equal(pd.read_parquet("n.parquet"), pd.read_parquet("s.parquet"))
    shipped = ["--network", str(ROOT / "stages/network.py")]
    assert_one_line(predict(workspace, "t.parquet", "--output", "n.csv", *shipped, fails=True), "another network")


def test_a_probability_that_is_no_number_is_refused_with_its_row(workspace):
    workspace.set(train__replicas=1)
    workspace.repro()
    rows = pd.read_parquet("data/test.parquet").drop(columns="y").head(4)
    rows.loc[2, "x0":"x9"] = 3e38
    rows.to_csv("n.csv", index=False)
    assert_one_line(predict(workspace, "n.csv", "--output", "s.csv", fails=True), "row 2: ", "in column 'x")
    weights, text = sealed.read("models/model.safetensors")
    huge = {name: np.full_like(array, 3e38) for name, array in weights.items()}
    sealed.write("huge.safetensors", huge, text)
    done = predict(workspace, "data/test.parquet", "--model", "huge.safetensors", "--output", "s.csv", fails=True)
    assert_one_line(done, "row 0: ", "no finite probability")
    assert not workspace.path("s.csv").exists()


def test_what_cannot_be_predicted_on_is_one_line_and_writes_nothing(mixed):
    frame = customers(9)
    cases = {
        "missing": (frame.drop(columns="größe, cm"), ["'größe, cm' is missing"]),
        "text": (frame.assign(age=["old"] * 9), ["'age' holds 'old' in line 2", "on numbers"]),
        "dates": (frame.assign(since=3), ["'since' holds bigint", "an instant"]),
    }
    for name, (changed, words) in cases.items():
        changed.to_csv(f"{name}.csv", index=False)
        assert_one_line(predict(mixed, f"{name}.csv", "--output", "wrong.csv", fails=True), *words)
    assert_one_line(predict(mixed, "missing.csv", "--output", "wrong.xlsx", fails=True), ".parquet or .csv")
    assert_one_line(predict(mixed, "missing.csv", "--output", "missing.csv", fails=True), "would overwrite it")
    mixed.path("folder").mkdir()
    assert_one_line(predict(mixed, "folder", "--output", "folder/wrong.csv", fails=True), "or is in, the table")
    assert_one_line(predict(mixed, "none.csv", "--output", "wrong.csv", fails=True), "none.csv is not there")
    options = ["--model", "none.safetensors"]
    assert_one_line(predict(mixed, "text.csv", "--output", "wrong.csv", *options, fails=True), "dvc checkout")
    assert not mixed.path("wrong.csv").exists()


def test_two_that_write_one_file_leave_one_of_the_two_whole(mixed):
    """Each writes under a temporary name of its own, and the one that ends last beside the other says so."""
    customers(500).to_csv("more.csv", index=False)
    command = [sys.executable, "-m", "plumbline", "predict"]
    environment = ENVIRONMENT | {"PYTHONPATH": str(ROOT)}
    running = [
        subprocess.Popen([*command, name, "--output", "both.csv"], env=environment, stdout=subprocess.DEVNULL)
        for name in ("customers.csv", "more.csv")
    ]
    assert sorted(process.wait() for process in running) in ([0, 0], [0, 1])
    assert len(pd.read_csv("both.csv")) in (240, 500)
    inputs.forget()
