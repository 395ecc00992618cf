import pytest
import torch

from aird_plugin.models import build
from aird_plugin.models.from_weights import detect_network, load_network
from aird_plugin.models.load import load_teacher


@pytest.mark.parametrize("name", ["r18", "r34", "r50", "r100", "mbf", "mfn"])
def test_network_is_detected_by_its_keys(name):
    with torch.device("meta"):
        assert detect_network(build(name).state_dict()) == name


def test_wrong_network_error_names_both_networks(teacher_file):
    with pytest.raises(ValueError, match="holds weights of mfn, but network=r50 is requested"):
        load_teacher(teacher_file, "r50")


def test_native_weights_require_a_network_name(tmp_path):
    net = build("native112_0.1m", 16)
    torch.save(net.state_dict(), tmp_path / "model.pt")
    with pytest.raises(ValueError, match="native student: set network="):
        load_teacher(tmp_path / "model.pt")
    assert load_teacher(tmp_path / "model.pt", "native112_0.1m").dim == 16
    with pytest.raises(ValueError, match="does not fit native112_0.2m"):
        load_teacher(tmp_path / "model.pt", "native112_0.2m")
    small = build("native16_0.1m", 16)
    torch.save(small.state_dict(), tmp_path / "small.pt")
    with pytest.raises(ValueError, match="takes 16 px images; a teacher needs 112 px"):
        load_teacher(tmp_path / "small.pt", "native16_0.1m")
    assert load_network(tmp_path / "small.pt", "native16_0.1m").input_size == 16


def test_unknown_architecture_is_rejected(tmp_path):
    with torch.device("meta"):
        other_iresnet = {key: value for key, value in build("r34").state_dict().items() if "layer3.5" not in key}
    with pytest.raises(ValueError, match=r"an iresnet with \[3, 4, 5, 3\] blocks; supported are r18"):
        detect_network(other_iresnet)
    with pytest.raises(ValueError, match="IR or IR-SE network"):
        detect_network({"input_layer.0.weight": torch.zeros(1), "body.0.bn.weight": torch.zeros(1)})
    with pytest.raises(ValueError, match="no registered network has keys like head.weight"):
        detect_network({"head.weight": torch.zeros(1)})


@pytest.mark.parametrize("change", ["missing", "extra", "shape"])
def test_loading_is_strict(state, tmp_path, change):
    state = dict(state)
    if change == "missing":
        del state["blocks.3.conv.0.weight"]
    elif change == "extra":
        state["more.weight"] = torch.zeros(1)
    else:
        state["conv2.conv.weight"] = torch.zeros(512, 64, 1, 1)
    torch.save(state, tmp_path / "model.pt")
    with pytest.raises(ValueError, match="does not fit mfn"):
        load_teacher(tmp_path / "model.pt")


def test_weights_that_are_not_finite_are_rejected(state, tmp_path):
    broken = dict(state) | {"linear1.conv.weight": state["linear1.conv.weight"] * float("nan")}
    torch.save(broken, tmp_path / "model.pt")
    with pytest.raises(ValueError, match=r"not finite, first in linear1\.conv\.weight"):
        load_teacher(tmp_path / "model.pt")


@pytest.mark.parametrize(
    ("key", "change", "message"),
    [
        ("conv1.conv.weight", lambda weight: (50 * weight).to(torch.int8), "holds conv1.conv.weight as int8"),
        ("conv1.conv.weight", lambda weight: weight.to(torch.complex64), "holds conv1.conv.weight as complex64"),
        ("conv1.bn.running_var", lambda variance: -variance, "negative variances, first in conv1.bn.running_var"),
        ("linear1.conv.weight", lambda weight: weight.sum(), "does not fit mfn: size mismatch for linear1.conv.weight"),
        ("linear1.conv.weight", lambda weight: weight[:0], "does not fit mfn: size mismatch for linear1.conv.weight"),
    ],
)
def test_numbers_that_are_no_weights_are_rejected(state, tmp_path, key, change, message):
    """Loading casts whole numbers, the codes of a quantised network, to float; a negative variance gives NaN embeddings."""
    torch.save(dict(state) | {key: change(state[key])}, tmp_path / "model.pt")
    with pytest.raises(ValueError, match=message):
        load_teacher(tmp_path / "model.pt")
