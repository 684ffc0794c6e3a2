"""A model as one ONNX file: a table's columns in, the label and a probability for each class out.

Each column is an input (n, 1) under its name. Numbers are double, and NaN is a gap. Times are double too, in seconds:
instants since 1970-01-01 UTC, times of day since midnight. Text and booleans are string; a gap is '', or any other cell
that stands for nothing (plumbline.tables.columns). `label` is (n,), `probabilities` is float (n, k) in the order of the
classes. A row without a finite probability, which `plumbline predict` refuses, gets NaN.

Columns are encoded as in plumbline.tables.encoding. The shipped network adds up in the order of plumbline.bits.scoring:
the order of a MatMul would show in the sixth digit. So its probabilities are those of `predict` to the last bit. A
network of the user's own is exported by PyTorch.
"""

from collections.abc import Iterator
from itertools import chain, count

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from plumbline.basics.errors import UserError
from plumbline.bits.rows import CODE, NUMBER, POSITION, SPLINE
from plumbline.exporting import edited
from plumbline.model.model import Model
from plumbline.model.network import SHIPPED
from plumbline.tables import columns, robust, targets
from plumbline.tables.fitted import Category, Encoding, Number

OPSETS = {"": 20, "ai.onnx.ml": 3}  # those of ONNX 1.15; RegexFullMatch needs 20
IR_VERSION = 9
FLOAT, DOUBLE, INT, STRING = TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT64, TensorProto.STRING
OUTPUTS = ("label", "probabilities")
HOLDS = {
    "number": "a number; NaN is a gap",
    "instant": "seconds since 1970-01-01 UTC; NaN is a gap",
    "time of day": "seconds since midnight; NaN is a gap",
    "duration": "seconds; NaN is a gap",
    "boolean": "true or false; '' is a gap",
    "category": "text; '' is a gap",
}


class Graph:
    """The nodes and constants of the file."""

    def __init__(self, columns: list[str]):
        self.nodes, self.constants = [], []
        # Names of nodes begin with more underscores than any column's name, which may be anything
        self.own = "_" * (1 + max(len(name) - len(name.lstrip("_")) for name in columns))

    def add(self, operator: str, *inputs: str | np.ndarray, domain: str = "", **attributes) -> str:
        """Add a node and return the name of its output. inputs: names, or arrays, which become constants."""
        names = [each if isinstance(each, str) else self._constant(each) for each in inputs]
        output = f"{self.own}{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, names, [output], domain=domain, **attributes))
        return output

    def _constant(self, array: np.ndarray) -> str:
        name = f"{self.own}c{len(self.constants)}"
        array = array.astype(object) if array.dtype.kind == "U" else np.ascontiguousarray(array)
        self.constants.append(numpy_helper.from_array(array, name))
        return name


def made(model: Model, metadata: dict[str, str]) -> onnx.ModelProto:
    """The ONNX file of a model, which answers with the mean of its networks. UserError where it cannot be exported."""
    encoding, names = model.card.encoding, [column.name for column in model.card.encoding.columns]
    if "" in names:
        raise UserError("a column has no name, and an input of an ONNX file needs one; name it and train anew")
    graph = Graph(names)
    answer = _shipped if model.card.network == SHIPPED else _own
    probability = _mean(graph, answer(graph, model, _inputs(graph, encoding)), model.card.sizes[2])
    classes = np.array(model.card.classes)
    outputs = [name + "_" * next(n for n in count() if name + "_" * n not in names) for name in OUTPUTS]
    if model.card.sizes[2] == 1:
        index = graph.add("GreaterOrEqual", probability, np.float32([0.5]))
        index = graph.add("Cast", graph.add("Squeeze", index, np.array([1])), to=INT)
        probability = graph.add("Concat", graph.add("Sub", np.float32([1]), probability), probability, axis=1)
    else:
        index = graph.add("ArgMax", probability, axis=1, keepdims=0)
    for name, value in zip(outputs, (graph.add("Gather", classes, index), probability)):
        graph.nodes.append(helper.make_node("Identity", [value], [name]))
    return _file(graph, encoding, outputs, classes, metadata)


def _file(graph: Graph, encoding: Encoding, outputs: list[str], classes: np.ndarray, metadata: dict[str, str]):
    """The graph with its inputs, its outputs and its metadata."""
    inputs = []
    for column in encoding.columns:
        is_text = isinstance(column, Category)
        kind = "category" if is_text else "boolean" if column.boolean else column.kind
        said = "" if is_text or not column.spelling else f"; the table has it as {column.spelling.example!r}"
        of = DOUBLE if kind not in ("category", "boolean") else STRING
        inputs.append(helper.make_tensor_value_info(column.name, of, ["n", 1], HOLDS[kind] + said))
    label = STRING if classes.dtype.kind == "U" else helper.np_dtype_to_tensor_dtype(classes.dtype)
    given = [(outputs[0], label, ["n"]), (outputs[1], FLOAT, ["n", len(classes)])]
    shown = [helper.make_tensor_value_info(*each) for each in given]
    file = helper.make_model(
        helper.make_graph(graph.nodes, "plumbline", inputs, shown, graph.constants),
        opset_imports=[helper.make_opsetid(domain, version) for domain, version in OPSETS.items()],
        ir_version=IR_VERSION,
        producer_name="plumbline",
    )
    helper.set_model_props(file, metadata)
    return file


# ---- columns


def _inputs(graph: Graph, encoding: Encoding) -> str:
    """The inputs of the network, float (n, d), in the order of encoded rows: kind by kind."""
    blocks = {kind: [] for kind in (NUMBER, POSITION, SPLINE, CODE)}
    for column in encoding.columns:
        encoded = _category if isinstance(column, Category) else _number
        for kind, block in encoded(graph, column):
            blocks[kind].append(block)
    return graph.add("Concat", *chain.from_iterable(blocks.values()), axis=1)


def _number(graph: Graph, column: Number) -> Iterator[tuple[int, str]]:
    """The inputs of a column, block by block: their kind, and their name, float (n, w)."""
    x = _truth(graph, column.name) if column.boolean else column.name
    if column.scale == 0.0:
        x = graph.add("Cast", x, to=FLOAT)
        yield NUMBER, graph.add("Add", x, graph.add("Sub", x, x))  # NaN for what is not finite
        return
    missing = graph.add("IsNaN", x)
    yield NUMBER, _robust(graph, x, missing, column)
    if column.marks_missing:
        yield NUMBER, graph.add("Cast", missing, to=FLOAT)
    if column.edges:
        x = graph.add("Where", missing, np.float64(column.centre), x)
        yield POSITION, _places(graph, x, column.edges, POSITION)
        yield SPLINE, _places(graph, x, column.knots, SPLINE)


def _truth(graph: Graph, name: str) -> str:
    """1 for true, 0 for false, NaN for any other text, as the cells of a CSV are read."""
    true, false = (graph.add("RegexFullMatch", name, pattern=f"(?i) *{word} *") for word in ("true", "false"))
    return graph.add("Where", true, np.float64(1), graph.add("Where", false, np.float64(0), np.float64(np.nan)))


def _robust(graph: Graph, x: str, missing: str, column: Number) -> str:
    """Centred, scaled, clipped smoothly, standardized."""
    z = graph.add("Div", graph.add("Sub", x, np.float64(column.centre)), np.float64(column.scale))
    z = graph.add("Clip", z, np.float64(-1e9), np.float64(1e9))
    part = graph.add("Div", z, np.float64(robust.CLIP))
    root = graph.add("Sqrt", graph.add("Add", np.float64(1), graph.add("Mul", part, part)))
    z = graph.add("Sub", graph.add("Div", z, root), np.float64(column.mean))
    z = graph.add("Div", z, np.float64(column.deviation))
    return graph.add("Cast", graph.add("Where", missing, np.float64(0), z), to=FLOAT)


def _places(graph: Graph, x: str, ends: list[float], kind: int) -> str:
    """The place among the ends of b bins: b inputs if kind is POSITION, b + 1 if it is SPLINE (plumbline.bits.rows)."""
    x = graph.add("Min", graph.add("Max", x, np.float64(ends[0])), np.float64(ends[-1]))
    inside = graph.add("Div", graph.add("Sub", x, np.array(ends[:-1])), np.diff(ends))
    inside = graph.add("Clip", inside, np.float64(0), np.float64(1))
    place = graph.add("Cast", graph.add("ReduceSum", inside, np.array([1])), to=FLOAT)
    inputs = graph.add("Sub", place, np.arange(len(ends) - (kind == POSITION), dtype=np.float32))
    if kind == SPLINE:
        inputs = graph.add("Sub", np.float32(1), graph.add("Abs", inputs))
    return graph.add("Clip", inputs, np.float32(0), np.float32(1))


def _category(graph: Graph, column: Category) -> Iterator[tuple[int, str]]:
    """As `_number`, of a column of text."""
    code = _code(graph, column)
    if column.counts:
        yield NUMBER, graph.add("Gather", targets.statistics(np.array(column.counts)), code)
    for kind, width in column.stored[column.statistics :]:
        yield kind, graph.add("OneHot", code, np.array(width), np.float32([0, 1]))


def _code(graph: Graph, column: Category) -> str:
    """The number of each row's category, int64 (n,). A category without an input has the number of inputs."""
    # Where all categories are pooled the encoder still needs a key: '', for it is missing whatever its number
    known = columns.known_as(column.values) or {"": 0}
    keys = {"keys_strings": known.keys(), "values_int64s": known.values()}
    code = graph.add("LabelEncoder", column.name, domain="ai.onnx.ml", default_int64=column.other, **keys)
    is_missing = graph.add("RegexFullMatch", column.name, pattern=columns.BLANK)
    code = graph.add("Where", is_missing, np.int64(min(column.missing, column.codes)), code)
    return graph.add("Squeeze", code, np.array([1]))


# ---- networks


def _shipped(graph: Graph, model: Model, inputs: str) -> str:
    """Logits of R networks, float (R, n, k), added up in the order of plumbline.bits.scoring."""
    w1, b1, w2, b2 = (model.weights[name] for name in ("net.0.weight", "net.0.bias", "net.2.weight", "net.2.bias"))
    x = graph.add("Unsqueeze", graph.add("Transpose", inputs, perm=[1, 0]), np.array([1, 3]))  # (d, 1, n, 1)
    hidden = _added_up(graph, _rows(graph, b1, inputs), x, w1.swapaxes(1, 2))
    hidden = graph.add("Transpose", graph.add("Relu", hidden), perm=[2, 0, 1])
    hidden = graph.add("Unsqueeze", hidden, np.array([3]))  # (h, R, n, 1)
    return _added_up(graph, _rows(graph, b2, inputs), hidden, w2.swapaxes(1, 2))


def _rows(graph: Graph, bias: np.ndarray, of: str) -> str:
    """A bias (R, m) for every row: (R, n, m)."""
    n = graph.add("Shape", of, start=0, end=1)
    shape = graph.add("Concat", np.array([len(bias)]), n, np.array([bias.shape[1]]), axis=0)
    return graph.add("Expand", bias[:, None], shape)


def _added_up(graph: Graph, start: str, x: str, weights: np.ndarray) -> str:
    """start (R, n, m) plus the products of x (d, 1 or R, n, 1) with weights (R, d, m), added one after the other.

    The kernel skips products with 0, which are here; adding one changes no bit.
    """
    sums, one, weight, more, product = (f"{graph.own}{name}" for name in ("sums", "one", "weight", "more", "product"))
    body = helper.make_graph(
        [helper.make_node("Mul", [one, weight], [product]), helper.make_node("Add", [sums, product], [more])],
        "one",
        [helper.make_tensor_value_info(name, FLOAT, None) for name in (sums, one, weight)],
        [helper.make_tensor_value_info(more, FLOAT, None)],
    )
    return graph.add("Scan", start, x, weights.swapaxes(0, 1)[:, :, None], body=body, num_scan_inputs=2)


def _own(graph: Graph, model: Model, inputs: str) -> str:
    """Logits of R networks, float (R, n, k), by the user's module."""
    module = edited.exported(model, OPSETS[""], f"{graph.own}module_")
    graph.nodes.append(helper.make_node("Identity", [inputs], [module.graph.input[0].name]))
    graph.nodes += module.graph.node
    graph.constants += module.graph.initializer
    return module.graph.output[0].name


def _mean(graph: Graph, logits: str, k: int) -> str:
    """The mean of the networks' probabilities, float (n, k); each is rounded to float first, as in `predict`."""
    logits = graph.add("Cast", logits, to=DOUBLE)
    if k == 1:  # the first class has logit 0; onnxruntime's Sigmoid is rough near 0
        logits = graph.add("Pad", logits, np.array([0, 0, 1, 0, 0, 0]))
    answers = graph.add("Softmax", logits, axis=2)
    if k == 1:
        answers = graph.add("Gather", answers, np.array([1]), axis=2)
    answers = graph.add("Cast", graph.add("Cast", answers, to=FLOAT), to=DOUBLE)
    return graph.add("Cast", graph.add("ReduceMean", answers, np.array([0]), keepdims=0), to=FLOAT)
