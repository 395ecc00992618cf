"""Provenance of a process against git's own output, and a repository that tries to run code."""

import getpass
import json
import platform
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from aird_plugin.models.find import model_hashes
from aird_plugin.utils import provenance as module
from aird_plugin.utils.files import file_sha256
from aird_plugin.utils.provenance import code_state, git, provenance, stamped, tree_hash

needs_git = pytest.mark.skipif(not shutil.which("git"), reason="no git on PATH: apt-get install git")


def run(folder: Path, *words: str) -> str:
    command = ["git", "-C", str(folder), "-c", "user.name=n", "-c", "user.email=e", *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(tmp_path):
    """A repository with a folder of code, a program and a link in it."""
    code = tmp_path / "repository" / "code"
    (code / "inner").mkdir(parents=True)
    (code / "a.py").write_text("a = 1\n")
    (code / "a").mkdir()
    (code / "a" / "b.py").write_text("")
    (code / "inner" / "tool.sh").write_text("#!/bin/sh\n")
    (code / "inner" / "tool.sh").chmod(0o755)
    (code / "link").symlink_to("a.py")
    run(tmp_path, "init", "-q", str(code.parent))
    run(code, "add", ".")
    run(code, "commit", "-q", "-m", "all")
    yield code
    code_state.cache_clear()


@needs_git
def test_tree_hash_equals_gits_and_any_change_is_dirty(repository):
    commit, tree = run(repository, "rev-parse", "HEAD"), run(repository, "rev-parse", "HEAD:code")
    (repository / "__pycache__").mkdir()
    (repository / "__pycache__" / "a.pyc").write_text("compiled")
    (repository / "empty").mkdir()
    assert tree_hash(repository) == tree
    assert code_state(repository) == {"tree": tree, "commit": commit, "dirty": False}
    for change in (
        lambda: (repository / "a.py").write_text("a = 2\n"),
        lambda: (repository / "new.py").write_text(""),
        lambda: (repository / "a" / "b.py").chmod(0o755),
        lambda: (repository / "link").unlink(),
    ):
        run(repository, "checkout", "-q", ".")
        run(repository, "clean", "-fdq")
        code_state.cache_clear()
        assert code_state(repository)["dirty"] is False
        change()
        assert code_state(repository)["dirty"] is False, "read once per process"
        code_state.cache_clear()
        assert code_state(repository)["dirty"] is True and code_state(repository)["commit"] == commit


@needs_git
def test_folder_outside_a_repository_has_a_tree_and_no_commit(repository, tmp_path, monkeypatch):
    copy = shutil.copytree(repository, repository.parent / "site-packages", symlinks=True)
    outside = shutil.copytree(repository, tmp_path / "outside", symlinks=True)
    for folder in (copy, outside):
        assert code_state(folder) == {"tree": tree_hash(repository), "commit": None, "dirty": None}
    monkeypatch.setattr(module.shutil, "which", lambda name: None)
    code_state.cache_clear()
    assert code_state(repository)["commit"] is None
    assert code_state(tmp_path / "nothing") == {"tree": None, "commit": None, "dirty": None}


@needs_git
def test_hostile_repository_runs_no_code(repository, tmp_path):
    """A filter, fsmonitor, hook, GPG program and a remote that is a command: each would create the file `mark`."""
    trap, mark = tmp_path / "trap.sh", tmp_path / "mark"
    trap.write_text(f"#!/bin/sh\ntouch {mark}\ncat\n")
    trap.chmod(0o755)
    (repository / ".gitattributes").write_text("* filter=evil\n")
    run(repository, "add", ".")
    run(repository, "commit", "-q", "-m", "attributes")
    keys = {
        "filter.evil.clean": trap,
        "filter.evil.smudge": trap,
        "core.fsmonitor": trap,
        "core.hooksPath": tmp_path,
        "gpg.program": trap,
        "log.showSignature": "true",
        "core.pager": trap,
        "remote.origin.url": f"ext::{trap}",
        "remote.origin.promisor": "true",
        "extensions.partialClone": "origin",
        "protocol.ext.allow": "always",
    }
    for key, value in keys.items():
        run(repository, "config", key, str(value))
    (repository / "a.py").write_text("a = 1\n")
    subprocess.run(["git", "-C", str(repository), "status"], capture_output=True, check=False)
    assert mark.exists(), "the traps work"
    mark.unlink()
    assert code_state(repository)["commit"] and not mark.exists()
    assert git(repository, "log", "-1", "--format=%h", "--", ".") and not mark.exists()
    for part in (repository.parent / ".git" / "objects").glob("??"):
        shutil.rmtree(part)
    assert code_state.__wrapped__(repository)["commit"] is None and not mark.exists()


def test_provenance_is_plain_and_anonymous():
    facts = provenance()
    assert json.loads(json.dumps(facts)) == facts
    assert facts["versions"]["torch"] == torch.__version__ and facts["machine"]["threads"] == torch.get_num_threads()
    text = json.dumps(facts)
    assert str(Path.home()) not in text and str(module.PACKAGE.parent) not in text
    for name in (platform.node(), getpass.getuser()):
        assert not name or f'"{name}' not in text and f"{name}/" not in text


def test_rows_hold_hashes_of_their_models(tmp_path):
    (tmp_path / "run").mkdir()
    for name in ("run/model.pt", "teacher.pt"):
        (tmp_path / name).write_text(name)
    (tmp_path / "run" / "recipe.json").write_text('{"network": "r18"}')
    rows = [{"accuracy": 1}, {"accuracy": 2}]
    models = {"student": tmp_path / "run", "teacher": str(tmp_path / "teacher.pt"), "none": None}
    [one, _] = stamped(rows, "cpu", model_hashes(models))
    assert one["accuracy"] == 1 and rows == [{"accuracy": 1}, {"accuracy": 2}]
    assert one["made"]["sha256"] == {
        "student": file_sha256(tmp_path / "run" / "model.pt"),
        "teacher": file_sha256(tmp_path / "teacher.pt"),
    }
