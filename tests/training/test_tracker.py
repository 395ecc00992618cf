"""Weights & Biases in the embedded loop: what is logged, that nothing of it ends a run, and that no key is stored."""

import importlib.util
import json
import struct
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from aird_plugin.config.recipe import from_flat, load
from aird_plugin.training import run_log, tracker
from aird_plugin.training.loop import train
from aird_plugin.training.tracker import Tracker
from tests.faults.processes import slowly, start, wait_for_step
from tests.runs import metrics, write_recipe
from tests.skips import needs

KEY = "0123456789abcdef" * 3
MINIMAL = {"rec": "faces", "output": "out"}


class FakeRun:
    """A wandb run that keeps what it is given; `broken` names the method that fails."""

    def __init__(self, broken: str = ""):
        self.lines, self.models, self.exit_code, self.broken = [], [], None, broken
        self.config = SimpleNamespace(update=lambda keys, allow_val_change: setattr(self, "recipe", keys))

    def define_metric(self, name, step_metric):
        self.axis = (name, step_metric)

    def log(self, line):
        if self.broken == "log":
            raise ConnectionResetError("the other end\nis gone")
        self.lines.append(line)

    def log_artifact(self, artifact):
        self.models.append(artifact)

    def finish(self, exit_code):
        if self.broken == "finish":
            raise RuntimeError
        self.exit_code = exit_code


class FakeArtifact(SimpleNamespace):
    def __init__(self, name, type):
        super().__init__(name=name, type=type)

    def add_file(self, file):
        self.bytes = Path(file).read_bytes()


@pytest.fixture
def wandb(monkeypatch):
    """A stand-in for the package: no process, no network."""

    def init(**options):
        if package.broken == "init":
            raise OSError("no route to host")
        package.starts.append(options)
        package.runs.append(FakeRun(package.broken))
        return package.runs[-1]

    package = SimpleNamespace(init=init, Settings=SimpleNamespace, Artifact=FakeArtifact, starts=[], runs=[], broken="")
    monkeypatch.setitem(sys.modules, "wandb", package)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: SimpleNamespace(origin="wandb/__init__.py"))
    return package


def test_every_line_of_the_log_and_the_models_reach_wandb(tiny_run, wandb, tmp_path):
    keys = {"using_wandb": True, "wandb_key": KEY, "wandb_entity": "lab", "wandb_project": "tiny faces", "notes": "first"}
    keys |= {"suffix_run_name": "a b", "save_artifacts": True, "output": str(tmp_path / "run"), "frequent": 4, "num_epoch": 2}
    train(from_flat(tiny_run | keys))
    (run,), (options,) = wandb.runs, wandb.starts
    assert run.lines == metrics(tmp_path / "run") and len(run.lines) == 3 and run.axis == ("*", "step") and run.exit_code == 0
    assert [(one.name, one.type) for one in run.models] == [("run_a-b_E1", "model"), ("run_a-b_Final", "model")]
    assert run.models[1].bytes == (tmp_path / "run" / "model.pt").read_bytes()
    expected = {"entity": "lab", "project": "tiny faces", "name": "run_a b", "notes": "first", "resume": None}
    assert options | expected == options and options["settings"].api_key == KEY
    assert run.recipe["network"] == "native16_0.05m" and run.recipe["wandb_key"] is None
    assert not [file for file in (tmp_path / "run").rglob("*") if file.is_file() and KEY.encode() in file.read_bytes()]


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ("init", "wandb could not be started (no route to host); the run goes on without it"),
        ("log", "wandb could not be written to (the other end is gone); the run goes on without it"),
        ("finish", "wandb could not be closed (RuntimeError); the run goes on without it"),
    ],
)
def test_a_failing_tracker_ends_no_run(broken, words, tiny_run, wandb, tmp_path, capsys):
    wandb.broken = broken
    train(from_flat(tiny_run | {"using_wandb": True, "output": str(tmp_path), "frequent": 3, "num_epoch": 1}))
    assert len(metrics(tmp_path)) == 2 and (tmp_path / "model.pt").exists()
    text = capsys.readouterr().err
    assert words in text and text.count("WARNING wandb") == 1


def test_a_server_without_an_answer_ends_no_run(wandb, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tracker, "START_S", 0.1)
    wandb.init = lambda **options: time.sleep(5)
    Tracker(from_flat(MINIMAL | {"using_wandb": True, "output": str(tmp_path)})).log({"step": 1})
    assert "wandb could not be started (no answer in 0.1 seconds)" in capsys.readouterr().err


def test_missing_package_is_named_with_its_extra(tiny_run, tmp_path, monkeypatch):
    """Also where a folder `wandb`, which the package writes, is taken for it."""
    for spec in (None, SimpleNamespace(origin=None)):
        monkeypatch.setattr(importlib.util, "find_spec", lambda name, spec=spec: spec)
        with pytest.raises(ImportError, match=r"pip install 'aird_plugin\[wandb\]'"):
            train(from_flat(tiny_run | {"using_wandb": True, "output": str(tmp_path / "run")}))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("wandb_resume", "resume", "same"), [(True, True, True), (False, True, False), (True, False, False)])
def test_a_resumed_run_continues_its_wandb_run_where_asked(wandb_resume, resume, same, wandb, tmp_path):
    keys = {"using_wandb": True, "wandb_resume": wandb_resume, "rec": "faces", "output": str(tmp_path)}
    Tracker(from_flat(keys))
    Tracker(from_flat(keys | {"resume": resume}))
    first, second = wandb.starts
    assert (first["id"] == second["id"]) == same
    assert first["resume"] is None and second["resume"] == ("allow" if same else None)


def test_only_rank_0_logs(wandb, tmp_path, monkeypatch):
    monkeypatch.setattr(run_log.distributed, "rank", lambda: 1)
    with run_log.RunLog(SimpleNamespace(recipe=from_flat(MINIMAL | {"using_wandb": True, "output": str(tmp_path)})), 0):
        assert not wandb.starts


def test_the_key_is_neither_stored_nor_shown(tmp_path):
    recipe = from_flat(MINIMAL | {"using_wandb": True, "wandb_key": KEY})
    assert recipe.tracker.wandb_key == KEY and KEY not in repr(recipe) and KEY not in json.dumps(recipe.flat())
    path = write_recipe(tmp_path / "recipe.py", MINIMAL)
    assert load(path, ["wandb_key=12e5"]).tracker.wandb_key == "12e5"
    with pytest.raises(ValueError, match="wandb_key is a str or None; got a value that is not shown"):
        from_flat(MINIMAL | {"wandb_key": 123456789})
    with pytest.raises(ValueError, match=r"upstream\['wandb_key'\] would be printed"):
        from_flat(MINIMAL | {"upstream": {"wandb_key": KEY}})


def records(folder: Path) -> list:
    """The records of wandb's file: protobuf messages in LevelDB's log format, whose blocks have 32 KiB."""
    from wandb.proto.wandb_internal_pb2 import Record

    (file,) = folder.glob("*.wandb")
    data, at, part, found = file.read_bytes(), 7, b"", []
    while at + 7 <= len(data):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        part += data[at + 7 : at + 7 + length]
        at += 7 + length
        # 1 whole, 2 first, 3 middle, 4 last part.
        if kind in (1, 4):
            found.append(Record.FromString(part))
            part = b""
    return found


def history(folder: Path) -> list[dict]:
    """The logged lines, without wandb's own entries."""
    rows = []
    for record in records(folder):
        if record.WhichOneof("record_type") == "history":
            items = {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            rows.append({key: value for key, value in items.items() if not key.startswith("_")})
    return rows


@pytest.mark.slow
def test_real_wandb_offline_over_a_kill(tiny_run, tmp_path):
    """Killed with -9, then resumed: one wandb run, whose lines are those of metrics.jsonl."""
    needs("wandb")
    keys = {"using_wandb": True, "wandb_key": KEY, "wandb_project": "p", "wandb_resume": True, "save_artifacts": True}
    keys |= {"frequent": 1, "save_steps": 2, "output": str(tmp_path / "run"), "notes": "mine"}
    recipe = write_recipe(tmp_path / "recipe.py", tiny_run | keys)
    environment = {"WANDB_MODE": "offline", "WANDB_DATA_DIR": str(tmp_path), "WANDB_CACHE_DIR": str(tmp_path)}
    run = start(recipe, before=slowly(0.2), **environment)
    wait_for_step(run, tmp_path / "run", 5)
    run.kill()
    run.communicate()
    run = start(recipe, **environment)
    text = run.communicate(timeout=900)[1]
    assert run.returncode == 0 and "WARNING wandb" not in text, text
    folders = sorted((tmp_path / "run" / "wandb").glob("offline-run-*"))
    run_id = json.loads((tmp_path / "run" / "wandb.json").read_text())["id"]
    assert len(folders) == 2 and all(folder.name.endswith(run_id) for folder in folders)
    logged = history(folders[1])
    assert logged == metrics(tmp_path / "run")[-len(logged) :] and 12 <= len(logged) < 18
    (begun,) = (record.run for record in records(folders[1]) if record.WhichOneof("record_type") == "run")
    assert begun.run_id == run_id and begun.project == "p" and begun.notes == "mine" and begun.display_name == "run"
    kinds = [record.request.WhichOneof("request_type") for record in records(folders[1])]
    assert kinds.count("log_artifact") + sum(r.WhichOneof("record_type") == "artifact" for r in records(folders[1])) >= 1
    assert not [file for file in tmp_path.rglob("*") if file.is_file() and file != recipe and KEY.encode() in file.read_bytes()]
