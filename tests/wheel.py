"""What was installed from the wheel, and nothing else, scores the test rows to the bit as the pipeline did.

`make wheel` runs it by the Python of an empty environment; tests/test_wheel.py with the base dependencies alone.
"""

import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

import plumbline

root = Path(__file__).parents[1]
for extra in ("dvc", "torch", "pandas", "sklearn", "scipy", "pytest", "stages"):
    assert importlib.util.find_spec(extra) is None, f"{extra} is there"
assert not Path(plumbline.__file__).is_relative_to(root / "plumbline"), plumbline.__file__
os.chdir(tempfile.mkdtemp())

model, rows = plumbline.load(root / "models/model.safetensors"), pq.read_table(root / "data/test.parquet")
own = pq.read_table(root / "metrics/predictions.parquet")
own = own.filter(pc.equal(own["part"], "test"))["probability"].to_numpy()
expected = np.array([probabilities[0] for probabilities in own], np.float64)
probability = model.predict_proba(rows)
np.testing.assert_array_equal(probability[:, 1], expected)
assert model.predict(rows).tolist() == model.classes_[(expected >= 0.5).astype(int)].tolist()

command = [sys.executable, *(["-S", "-P"] if sys.flags.no_site else ["-I"]), "-m", "plumbline"]
table = ["predict", root / "data/test.parquet", "--model", root / "models/model.safetensors", "--keep", "y"]
subprocess.run([*command, *table, "--output", "scored.parquet"], check=True)
scored = pq.read_table("scored.parquet")
np.testing.assert_array_equal(scored["probability_1"], expected)
assert scored["y"].to_pylist() == rows["y"].to_pylist()
done = subprocess.run([*command, "compare", "HEAD", "HEAD"], cwd=root, capture_output=True, text=True)
assert done.returncode and "pip install 'plumbline[pipeline]'" in done.stderr, done.stderr
assert len(done.stderr.splitlines()) == 1, done.stderr
print("the wheel scores as the pipeline does")
