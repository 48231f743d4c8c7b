import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from featherlight.data.tokens.ragged import Ragged
from featherlight.export.graph import Rounded, floats, rounded_weights, student_graph
from featherlight.models.students.recurrent import POOLINGS
from featherlight.packing.folder import architecture
from helpers.onnx_logits import EMULATOR, logits, on_haswell
from helpers.tiny_students import new_student

BODIES = [*(("bilstm", pooling) for pooling in POOLINGS), *(("rnn", pooling) for pooling in POOLINGS), ("bag", None)]
BODY = pytest.mark.parametrize(("student", "pooling"), BODIES)


def made(student, pooling, embedding, **more):
    """A student, its architecture and its weights."""
    chosen = {} if pooling is None else {"pooling": pooling}
    model, tokenizer = new_student(student, embedding, labels=("a", "b", "c"), **chosen, **more)
    weights = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    return model, tokenizer, architecture(model.config.to_dict()), weights


def batches(tokenizer, *, pair):
    """Rows of unequal length with an empty one among them; one row; one token; of a pair the second text is longer."""
    generator = np.random.default_rng(0)
    known = tokenizer("bad film the plot was good very lovely dull music")["input_ids"]
    for count, most in ((4, 9), (1, 6), (2, 1), (5, 3)):
        inputs = {}
        for prefix, longest in (("", most), ("pair_", most + 2))[: 1 + pair]:
            lengths = [longest, 0, *generator.integers(0, longest + 1, size=count)][:count]
            rows = Ragged.of([generator.choice(known, size=length) for length in lengths])
            ids, mask = rows.padded(np.arange(count), pad=0, left=False)
            inputs |= {f"{prefix}input_ids": ids, f"{prefix}attention_mask": mask.astype(np.int64)}
        yield inputs


def run(graph, inputs):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, inputs)[0]


def torch_logits(model, inputs):
    with torch.inference_mode():
        return model(**{name: torch.from_numpy(array) for name, array in inputs.items()}).logits.numpy()


@BODY
@pytest.mark.parametrize("pair", [False, True])
@pytest.mark.parametrize("embedding", ["wordpiece", "hash"])
def test_padded_batches_give_the_logits_of_pytorchs_packed_texts(student, pooling, embedding, pair):
    model, tokenizer, about, weights = made(student, pooling, embedding, pair=pair)
    graph = student_graph(about, weights)
    onnx.checker.check_model(graph, full_check=True)
    for inputs in batches(tokenizer, pair=pair):
        assert np.allclose(run(graph, inputs), torch_logits(model, inputs), atol=1e-6)


@BODY
@pytest.mark.parametrize("embedding", ["wordpiece", "hash"])
@pytest.mark.parametrize("per_channel", [True, False])
def test_rounded_weights_that_are_computed_with_as_floats_give_what_those_floats_give(
    student, pooling, embedding, per_channel
):
    model, tokenizer, about, weights = made(student, pooling, embedding)
    rounded = rounded_weights(weights, per_channel=per_channel)
    model.load_state_dict({name: torch.from_numpy(floats(weight)) for name, weight in rounded.items()})
    graph = student_graph(about, rounded)
    for inputs in batches(tokenizer, pair=False):
        assert np.allclose(run(graph, inputs), torch_logits(model, inputs), atol=1e-6)


@BODY
@pytest.mark.parametrize("per_channel", [True, False])
def test_logits_in_int8_are_near_those_in_float(student, pooling, per_channel):
    model, tokenizer, about, weights = made(student, pooling, "wordpiece", pair=True)
    graph = student_graph(about, rounded_weights(weights, per_channel=per_channel), int8=True)
    for inputs in batches(tokenizer, pair=True):
        wanted = torch_logits(model, inputs)
        assert np.abs(run(graph, inputs) - wanted).max() < 0.03 * np.abs(wanted).max()


@pytest.mark.parametrize(("student", "operator"), [("bilstm", "DynamicQuantizeLSTM"), ("bag", "DynamicQuantizeMatMul")])
def test_int8_is_computed_in_int8_and_stored_as_int8(student, operator):
    _, _, about, weights = made(student, None, "wordpiece")
    graph = student_graph(about, rounded_weights(weights, per_channel=True), int8=True).graph
    assert operator in {node.op_type for node in graph.node}
    stored = {array.name: array for array in graph.initializer}
    matrices = [array for array in stored.values() if np.prod(array.dims) > 20 and not array.name.endswith("scale")]
    assert all(array.data_type == onnx.TensorProto.INT8 for array in matrices if "bias" not in array.name)


def test_rounding_is_off_by_half_a_step_at_most_and_has_a_step_for_each_row_or_one_for_all():
    weight = np.random.default_rng(0).normal(size=(7, 5)).astype(np.float32) * np.arange(1, 8)[:, None]
    per_row = rounded_weights({"classifier.hidden.weight": weight}, per_channel=True)["classifier.hidden.weight"]
    whole = rounded_weights({"classifier.hidden.weight": weight}, per_channel=False)["classifier.hidden.weight"]
    assert per_row.scales.ravel() == pytest.approx(np.abs(weight).max(axis=1) / 63)
    assert whole.scales == pytest.approx(np.abs(weight).max() / 63)
    for rounded in (per_row, whole):
        assert (np.abs(rounded.floats - weight) <= rounded.scales / 2 + 1e-6).all()


def test_what_is_rounded_already_is_not_rounded_again():
    codes = Rounded(np.array([[3, -7]], dtype=np.int8), np.array(0.5, dtype=np.float32))
    assert rounded_weights({"classifier.out.weight": codes}, per_channel=True)["classifier.out.weight"] is codes


def test_two_products_of_a_byte_and_a_weight_fit_into_sixteen_bits_but_for_what_is_looked_up():
    generator = np.random.default_rng(1)
    names = ("embedding.table", "classifier.out.weight")
    weights = {name: generator.normal(size=(6, 5)).astype(np.float32) for name in names}
    weights["classifier.hidden.weight"] = Rounded(np.array([[127, -127], [3, 64]], dtype=np.int8), np.float32(0.01))
    rounded = rounded_weights(weights, per_channel=True)
    for name in ("classifier.out.weight", "classifier.hidden.weight"):
        values = rounded[name].values.astype(int)
        assert 255 * np.abs(values[:, :-1] + values[:, 1:]).max() < 2**15
        assert np.abs(rounded[name].floats - floats(weights[name])).max() <= np.max(rounded[name].scales) / 2 + 1e-6
    assert np.abs(rounded["embedding.table"].values.astype(int)).max() == 127


@pytest.mark.slow
@pytest.mark.skipif(EMULATOR is None, reason="needs qemu-x86_64 (Debian: qemu-user)")
@BODY
def test_a_student_in_int8_answers_alike_on_a_processor_without_vnni(tmp_path, student, pooling):
    _, tokenizer, about, weights = made(student, pooling, "wordpiece")
    for name, weight in weights.items():
        if weight.ndim > 1:  # all as large as can be
            weights[name] = np.sign(weight) * np.abs(weight).max()
    file = tmp_path / "model.onnx"
    onnx.save(student_graph(about, rounded_weights(weights, per_channel=True), int8=True), file)
    inputs = next(batches(tokenizer, pair=False))
    here, there = logits(file, inputs), on_haswell(file, inputs)
    assert np.abs(here - there).max() <= 1e-5 * max(np.abs(here).max(), 1)
