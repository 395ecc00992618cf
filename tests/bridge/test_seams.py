import ast
import shutil
import sys
import types
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch

from aird_plugin.bridge import checkout, patches, seams
from aird_plugin.bridge.host import check_imports, train
from aird_plugin.bridge.mends import Surroundings
from aird_plugin.recipe import from_flat

BRIDGE = Path(seams.__file__).parent


@pytest.fixture
def changed(standin, tmp_path):
    """A maker of stand-ins with one text replaced."""

    def make(file: str, old: str, new: str) -> Path:
        folder = tmp_path / "changed"
        shutil.copytree(standin, folder)
        text = (folder / file).read_text()
        assert old in text
        (folder / file).write_text(text.replace(old, new))
        return folder

    return make


def test_every_seam_fits(checkout):
    assert seams.missing(seams.checkout.find(checkout, seams.ENTRY)) == []


def test_another_arcface_torch_is_refused_by_the_name_that_is_missing(changed, bridge_run, tmp_path):
    folder = changed("train_v2.py", "import PolynomialLRWarmup", "import PolynomialLRWarmup as PolyScheduler")
    words = r"has no train_v2.PolynomialLRWarmup: .* ab27f4d6 \(2023-04-08\) to 0159b24d"
    with pytest.raises(ValueError, match=words) as failure:
        train(from_flat(bridge_run | {"output": str(tmp_path / "run")}), str(folder))
    assert "PartialFC_V2" not in str(failure.value) and not (tmp_path / "run").exists()


UPSTREAMS = [seam for seam in seams.SEAMS if not seam.module.startswith("torch.")]


@pytest.mark.parametrize("seam", UPSTREAMS, ids=lambda seam: f"{seam.module}.{seam.name}")
def test_each_seam_is_missed_where_it_is_gone(seam, standin, tmp_path):
    folder = tmp_path / "gone"
    shutil.copytree(standin, folder)
    file = folder.joinpath(*seam.module.split(".")).with_suffix(".py")
    file.write_text(file.read_text().replace(f"import {seam.name}", "import os").replace(f"def {seam.name}(", "def other("))
    found = [f"{s.module}.{s.name}" for s in seams.missing(folder)]
    if f"{seam.module}.{seam.name}" not in found:  # the second name of a shared import line
        file.write_text(file.read_text().replace(f", {seam.name}", ""))
        found = [f"{s.module}.{s.name}" for s in seams.missing(folder)]
    assert f"{seam.module}.{seam.name}" in found


def test_upstreams_modules_are_named_in_one_file_only():
    """A name of upstream's as a whole string stands in seams.py alone; attributes of its objects are its wrappers' business."""
    names = {seam.name for seam in seams.SEAMS} - {"test"} | {seam.module for seam in seams.SEAMS} | {"train_v2", "dataset"}
    names |= {seams.IJB_OF_ONNX, seams.IJB_OF_WEIGHTS, seams.VERIFICATION, *seams.TOOL_NETWORK}
    for path in BRIDGE.glob("*.py"):
        if path.name == "seams.py":
            continue
        tree = ast.parse(path.read_text())
        strings = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
        assert not strings & names, path.name


def test_folders_that_are_no_checkout(tmp_path, standin):
    with pytest.raises(ValueError, match="no arcface_torch checkout: neither it nor"):
        checkout_of(tmp_path)
    whole = tmp_path / "insightface" / "recognition" / "arcface_torch"
    shutil.copytree(standin, whole)
    assert checkout_of(tmp_path / "insightface") == whole == checkout_of(whole)


def checkout_of(folder) -> Path:
    return checkout.find(folder, seams.ENTRY)


def test_names_are_read_without_running_the_module(tmp_path):
    (tmp_path / "m.py").write_text("import a.b, c as d\nfrom e import f as g, h\nx = 1\ndef fn(): pass\nclass K: pass\n1 / 0\n")
    assert checkout.bindings(tmp_path, "m") == {"a", "d", "g", "h", "x", "fn", "K"}
    assert checkout.bindings(tmp_path, "absent") == set()


def test_modules_of_the_same_name_step_aside_and_come_back(tmp_path, monkeypatch):
    (tmp_path / "losses.py").write_text("who = 'checkout'\n")
    mine = types.ModuleType("losses")
    monkeypatch.setitem(sys.modules, "losses", mine)
    with checkout.importable(tmp_path):
        import losses

        assert losses.who == "checkout"
    assert sys.modules["losses"] is mine and str(tmp_path) not in sys.path


def test_our_own_package_inside_the_checkout_stays(tmp_path):
    """People clone the plugin into arcface_torch's folder."""
    (tmp_path / "aird_plugin").mkdir()
    (tmp_path / "aird_plugin" / "__init__.py").write_text("")
    import aird_plugin

    with checkout.importable(tmp_path):
        assert sys.modules["aird_plugin"] is aird_plugin


def test_names_bound_anew_come_back_even_after_an_error():
    holder = types.ModuleType("holder_of_names")
    holder.name = 1
    sys.modules["holder_of_names"] = holder
    try:
        with pytest.raises(KeyError), ExitStack() as stack:
            patches.rebind(stack, "holder_of_names", "name", lambda before: before + 1)
            patches.rebind(stack, "holder_of_names", "name", lambda before: before + 1)
            patches.rebind(stack, "torch", "Tensor.cuda", lambda before: None)
            patches.stand_in(stack, {"holder_of_names": types.ModuleType("other"), "brand_new": types.ModuleType("new")})
            assert holder.name == 3 and torch.Tensor.cuda is None and "brand_new" in sys.modules
            raise KeyError
        assert holder.name == 1 and "cuda" not in vars(torch.Tensor) and "brand_new" not in sys.modules
        assert sys.modules["holder_of_names"] is holder
    finally:
        del sys.modules["holder_of_names"]


def test_a_name_that_is_not_there_is_an_error():
    with ExitStack() as stack, pytest.raises(AttributeError):
        patches.rebind(stack, "torch", "no_such_name", lambda before: None)


def test_mends_that_are_not_needed_stay_out(standin):
    """Where there is CUDA, upstream's own devices are used."""
    around = Surroundings(cpu=False)
    needed = {f"{mend.module}.{mend.name}" for mend in seams.MENDS if mend.needed(around)}
    assert not needed & {"torch.Tensor.cuda", "torch.nn.Module.cuda", "torch.cuda.set_device", "dataset.DataLoaderX"}
    assert "torch.save" in needed


def test_packages_that_upstream_imports_are_asked_for_by_their_extra(tmp_path, monkeypatch):
    (tmp_path / "eval").mkdir()
    (tmp_path / "eval" / "verification.py").write_text("import sklearn\nfrom scipy import interpolate\n")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"imports sklearn and scipy: pip install 'aird_plugin\[arcface\]'"):
        check_imports(tmp_path)
