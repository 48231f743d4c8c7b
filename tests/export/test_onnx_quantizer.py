import onnx
import pytest
from onnx import helper

from featherlight.export.onnx_quantizer import quantize


def test_a_model_of_which_nothing_becomes_int8_is_an_error_and_no_success(tmp_path):
    values = [helper.make_tensor_value_info(name, onnx.TensorProto.INT64, ["texts", "tokens"]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Abs", ["x"], ["y"])], "none", values[:1], values[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "a.onnx")
    with pytest.raises(SystemExit, match="no weight could be converted to int8"):
        quantize(tmp_path / "a.onnx", tmp_path / "b.onnx", per_channel=True)
