import ast
import shutil
import sys
import types
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch

from aird_plugin.bridge import checkout, hooks, patching
from aird_plugin.bridge.compat import Environment
from aird_plugin.bridge.host import check_imports, train
from aird_plugin.config.recipe import from_flat

BRIDGE = Path(hooks.__file__).parent


@pytest.fixture
def changed_standin(standin, tmp_path):
    """A function that copies the stand-in with one text replaced."""

    def make(file: str, old: str, new: str) -> Path:
        folder = tmp_path / "changed"
        shutil.copytree(standin, folder)
        text = (folder / file).read_text()
        assert old in text
        (folder / file).write_text(text.replace(old, new))
        return folder

    return make


def test_checkout_defines_every_hook(checkout):
    assert hooks.missing(hooks.checkout.find(checkout, hooks.ENTRY)) == []


def test_incompatible_version_is_rejected_naming_the_missing_hook(changed_standin, bridge_run, tmp_path):
    folder = changed_standin("train_v2.py", "import PolynomialLRWarmup", "import PolynomialLRWarmup as PolyScheduler")
    words = r"has no train_v2.PolynomialLRWarmup: .* ab27f4d6 \(2023-04-08\) to 0159b24d"
    with pytest.raises(ValueError, match=words) as failure:
        train(from_flat(bridge_run | {"output": str(tmp_path / "run")}), str(folder))
    assert "PartialFC_V2" not in str(failure.value) and not (tmp_path / "run").exists()


UPSTREAM_HOOKS = [hook for hook in hooks.HOOKS if not hook.module.startswith("torch.")]


@pytest.mark.parametrize("hook", UPSTREAM_HOOKS, ids=lambda hook: f"{hook.module}.{hook.name}")
def test_missing_hook_is_detected(hook, standin, tmp_path):
    folder = tmp_path / "incomplete"
    shutil.copytree(standin, folder)
    file = folder.joinpath(*hook.module.split(".")).with_suffix(".py")
    file.write_text(file.read_text().replace(f"import {hook.name}", "import os").replace(f"def {hook.name}(", "def other("))
    found = [f"{s.module}.{s.name}" for s in hooks.missing(folder)]
    if f"{hook.module}.{hook.name}" not in found:  # the second name of a shared import line
        file.write_text(file.read_text().replace(f", {hook.name}", ""))
        found = [f"{s.module}.{s.name}" for s in hooks.missing(folder)]
    assert f"{hook.module}.{hook.name}" in found


def test_upstream_module_names_appear_in_hooks_only():
    """Only hooks.py contains upstream's names as whole strings; the wrappers may use attributes of its objects."""
    names = {hook.name for hook in hooks.HOOKS} - {"test"} | {hook.module for hook in hooks.HOOKS} | {"train_v2", "dataset"}
    names |= {hooks.IJB_OF_ONNX, hooks.IJB_OF_WEIGHTS, hooks.VERIFICATION, *hooks.TOOL_NETWORK}
    for path in BRIDGE.glob("*.py"):
        if path.name == "hooks.py":
            continue
        tree = ast.parse(path.read_text())
        strings = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
        assert not strings & names, path.name


def test_folder_without_checkout_is_rejected(tmp_path, standin):
    with pytest.raises(ValueError, match="no arcface_torch checkout: neither it nor"):
        checkout_of(tmp_path)
    whole = tmp_path / "insightface" / "recognition" / "arcface_torch"
    shutil.copytree(standin, whole)
    assert checkout_of(tmp_path / "insightface") == whole == checkout_of(whole)


def checkout_of(folder) -> Path:
    return checkout.find(folder, hooks.ENTRY)


def test_bindings_are_read_without_importing(tmp_path):
    (tmp_path / "m.py").write_text("import a.b, c as d\nfrom e import f as g, h\nx = 1\ndef fn(): pass\nclass K: pass\n1 / 0\n")
    assert checkout.bindings(tmp_path, "m") == {"a", "d", "g", "h", "x", "fn", "K"}
    assert checkout.bindings(tmp_path, "absent") == set()


def test_modules_of_the_same_name_are_restored(tmp_path, monkeypatch):
    (tmp_path / "losses.py").write_text("origin = 'checkout'\n")
    own_module = types.ModuleType("losses")
    monkeypatch.setitem(sys.modules, "losses", own_module)
    with checkout.importable(tmp_path):
        import losses

        assert losses.origin == "checkout"
    assert sys.modules["losses"] is own_module and str(tmp_path) not in sys.path


def test_our_package_inside_the_checkout_is_not_reloaded(tmp_path):
    """The plugin may be cloned into arcface_torch's folder."""
    (tmp_path / "aird_plugin").mkdir()
    (tmp_path / "aird_plugin" / "__init__.py").write_text("")
    import aird_plugin

    with checkout.importable(tmp_path):
        assert sys.modules["aird_plugin"] is aird_plugin


def test_replaced_names_are_restored_after_an_error():
    holder = types.ModuleType("holder_of_names")
    holder.name = 1
    sys.modules["holder_of_names"] = holder
    try:
        with pytest.raises(KeyError), ExitStack() as stack:
            patching.rebind(stack, "holder_of_names", "name", lambda before: before + 1)
            patching.rebind(stack, "holder_of_names", "name", lambda before: before + 1)
            patching.rebind(stack, "torch", "Tensor.cuda", lambda before: None)
            patching.replace_modules(stack, {"holder_of_names": types.ModuleType("other"), "brand_new": types.ModuleType("new")})
            assert holder.name == 3 and torch.Tensor.cuda is None and "brand_new" in sys.modules
            raise KeyError
        assert holder.name == 1 and "cuda" not in vars(torch.Tensor) and "brand_new" not in sys.modules
        assert sys.modules["holder_of_names"] is holder
    finally:
        del sys.modules["holder_of_names"]


def test_rebinding_an_unknown_name_raises():
    with ExitStack() as stack, pytest.raises(AttributeError):
        patching.rebind(stack, "torch", "no_such_name", lambda before: None)


def test_cpu_patches_are_not_applied_with_cuda():
    """With CUDA, upstream's own devices are used."""
    env = Environment(cpu=False)
    needed = {f"{patch.module}.{patch.name}" for patch in hooks.COMPAT_PATCHES if patch.needed(env)}
    assert not needed & {"torch.Tensor.cuda", "torch.nn.Module.cuda", "torch.cuda.set_device", "dataset.DataLoaderX"}
    assert "torch.save" in needed


def test_missing_packages_are_named_with_their_extra(tmp_path, monkeypatch):
    (tmp_path / "eval").mkdir()
    (tmp_path / "eval" / "verification.py").write_text("import sklearn\nfrom scipy import interpolate\n")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"imports sklearn and scipy: pip install 'aird_plugin\[arcface\]'"):
        check_imports(tmp_path)
