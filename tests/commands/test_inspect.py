import pytest

from featherlight.cli.main import main
from helpers.commands import call


def test_parts_add_up_to_the_model(capsys, students):
    _, shown = call(capsys, "inspect", students["bilstm"])
    for key in ("parameters", "bytes", "packed_bytes"):
        assert sum(part[key] for part in shown["parts"].values()) == pytest.approx(shown[key], abs=0), key
    assert set(shown["parts"]) == {"embedding", "recurrent", "linear", "tokenizer"}
    hidden, width = 9, 8
    assert shown["parts"]["recurrent"]["parameters"] == 2 * 4 * hidden * (width + hidden + 2)


def test_a_file_a_quantized_folder_and_an_encoder_are_inspected_too(capsys, students, tmp_path):
    file, store = tmp_path / "model.light", tmp_path / "store"
    _, quantized = call(capsys, "quantize", students["rnn"], "--bits", 4, "--store", store)
    main(["pack", quantized["folder"], "-o", str(file), "--store", str(store), "--json"])
    capsys.readouterr()
    _, packed = call(capsys, "inspect", file)
    assert packed["bytes"] == packed["packed_bytes"] == file.stat().st_size
    _, folder = call(capsys, "inspect", quantized["folder"])
    assert folder["packed_bytes"] == packed["bytes"] and folder["zeros"] == packed["zeros"]
    _, encoder = call(capsys, "inspect", students["teacher"])
    assert encoder["packed_bytes"] is None and "attention" in encoder["parts"]


@pytest.mark.parametrize(("suffix", "begins"), [("svg", b"<?xml"), ("png", b"\x89PNG"), ("pdf", b"%PDF")])
def test_the_figure_is_of_the_kind_that_its_name_says(capsys, students, tmp_path, suffix, begins):
    path = tmp_path / f"parts.{suffix}"
    assert main(["inspect", str(students["bag"]), "--figure", str(path)]) == 0
    assert path.read_bytes().startswith(begins)
    assert "recurrent" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere",), "no such folder"),
        (("BAG", "--thresholds", "a,b"), "write numbers of at least 0"),
        (("BAG", "--figure", "parts.jpg"), "ends in .svg, .png, .pdf"),
    ],
)
def test_a_mistake_gets_one_clear_message(capsys, students, arguments, message):
    given = [str(students["bag"]) if argument == "BAG" else argument for argument in arguments]
    assert main(["inspect", *given]) == 2
    assert message in capsys.readouterr().err
