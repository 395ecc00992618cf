"""Modules of checkouts: imported unmodified, skipped with a message, or named when missing."""

import sys

import pytest

from tools.lib.checkouts import module_of


def test_module_is_imported_from_the_checkout_and_the_path_is_restored(tmp_path, monkeypatch):
    (tmp_path / "checkout_of_a_test.py").write_text("VALUE = 3")
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    before = list(sys.path)
    assert module_of(str(tmp_path), "checkout_of_a_test", "X").VALUE == 3 and sys.path == before


def test_missing_checkout_skips(capsys):
    assert module_of(None, "a.b", "DKD") is None
    assert capsys.readouterr().err == "DKD is skipped: give the checkout that contains a.b\n"


def test_folder_without_the_module_is_named(tmp_path):
    before = list(sys.path)
    with pytest.raises(ValueError, match="is not a checkout with a_missing_module"):
        module_of(str(tmp_path), "a_missing_module", "X")
    assert sys.path == before
