"""Works that tools/kill.py kills: each is done by one call that, made again, goes on; and says what must be whole at any moment.

`prepare` makes what the work reads, `do` is the work, `whole` raises where a thing that counts as there is not, and `result`
is what must equal the unbroken work's. Folders: `inputs` is read only, `out` is the work's own.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

PEOPLE, FACES = 6, 4
LOSS = "aird_plugin.losses"


@dataclass(frozen=True)
class Work:
    """ranks: processes that do it together."""

    do: Callable[[Path, Path], None]
    whole: Callable[[Path], None]
    result: Callable[[Path], dict]
    ranks: int = 1


def prepare(inputs: Path) -> None:
    """A face set, a teacher, a bank, a trained run, pairs."""
    import torch

    from aird_plugin.data.facerec import write_face_records
    from aird_plugin.data.images import encode_jpeg
    from aird_plugin.data.pairs import write_pairs
    from aird_plugin.data.synthetic import draw_person
    from aird_plugin.models import build

    jpegs = {(person, face): encode_jpeg(draw_person(person, face)) for person in range(PEOPLE) for face in range(FACES)}
    write_face_records(inputs / "faces", ((person, jpeg) for (person, _), jpeg in jpegs.items()))
    same = [bool(n % 2) for n in range(20)]
    shown = [jpegs[person % PEOPLE, n % FACES] for n in range(20) for person in (n, n + 1 - n % 2)]
    write_pairs(inputs / "pairs.bin", shown, same)
    torch.manual_seed(0)
    torch.save(build("native112_0.05m", 8).state_dict(), inputs / "teacher.pt")
    train(inputs, inputs / "run")


def keys(inputs: Path, out: Path, ranks: int = 1) -> dict:
    """The recipe of a run of twelve steps that saves at every second."""
    return {
        "rec": str(inputs / "faces"), "teacher": str(inputs / "teacher.pt"), "teacher_network": "native112_0.05m",
        "network": "native16_0.05m", "px": 16, "bank": str(inputs / "bank"), "head_init": "teacher", "batch_size": 8 // ranks,
        "lr": 0.05, "num_epoch": 4, "schedule": "cosine", "device": "cpu", "bank_hard": 12, "rid_negatives": 8,
        "terms": {"iid": f"{LOSS}.instance:Instance", "rid": f"{LOSS}.relation:Relation"}, "save_steps": 2, "frequent": 1,
        "val_targets": (str(inputs / "pairs.bin"),), "output": str(out), "rank_timeout": 20.0,
    }  # fmt: skip


def train(inputs: Path, out: Path, ranks: int = 1) -> None:
    from aird_plugin.loop import train as train_embedded
    from aird_plugin.recipe import from_flat

    train_embedded(from_flat(keys(inputs, out, ranks)))


def whole_run(out: Path) -> None:
    from aird_plugin.checkpoint import load_latest
    from aird_plugin.tensorfile import load_tensors

    load_latest(out / "checkpoints")
    if (out / "model.pt").exists():
        load_tensors(out / "model.pt")
    for name in ("recipe.json", "evaluation.json"):
        if (out / name).exists():
            json.loads((out / name).read_text())


def trained(out: Path) -> dict:
    """Weights, every tensor of the last checkpoint, every line of the log but for its speed, and the verification."""
    from aird_plugin.checkpoint import load_latest
    from aird_plugin.tensorfile import load_tensors, tensors_in

    shared, heads = load_latest(out / "checkpoints")
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return {
        "model": [digest(x.numpy()) for x in tensors_in(load_tensors(out / "model.pt"))],
        "checkpoint": [digest(x.numpy()) for x in tensors_in([shared, heads])],
        "metrics": [{key: value for key, value in line.items() if key != "samples_per_s"} for line in lines],
        "accuracy": [row["accuracy"] for row in json.loads((out / "evaluation.json").read_text())],
    }


def bank(inputs: Path, out: Path) -> None:
    from aird_plugin.data import bank_build
    from aird_plugin.data.bank import BankConfig
    from aird_plugin.data.faces import open_records
    from aird_plugin.models.load import load_teacher

    # Several blocks, so that there is something to go on from.
    bank_build.BLOCK = 5
    config, records = BankConfig(bank=str(out), bank_hard=12), open_records(str(inputs / "faces"))
    bank_build.open_low_bank(config, records, 16)
    bank_build.open_teacher_bank(config, records, load_teacher(str(inputs / "teacher.pt"), "native112_0.05m", "cpu"))


def whole_bank(out: Path) -> None:
    from aird_plugin.data.bank_files import check_sums

    for manifest in out.glob("*/manifest.json"):
        check_sums(manifest.parent, json.loads(manifest.read_text()))


def built(out: Path) -> dict:
    return {place.parent.name: json.loads(place.read_text())["crc32"] for place in out.glob("*/manifest.json")}


def export(inputs: Path, out: Path) -> None:
    from aird_plugin.__main__ import main

    if not (out / "student").exists():
        assert main(["export", str(inputs / "run"), "--out", str(out / "student"), "--count", "4"]) == 0


def whole_export(out: Path) -> None:
    import onnx

    if (out / "student").exists():
        assert (out / "student" / "MODEL_CARD.md").read_text().endswith("\n")
        for file in (out / "student").rglob("*.onnx"):
            onnx.checker.check_model(str(file), full_check=True)


def exported(out: Path) -> dict:
    import onnx

    files = sorted((out / "student").rglob("*.onnx"))
    return {file.name: digest(np.frombuffer(onnx.load(file).graph.SerializeToString(), np.uint8)) for file in files}


def report(inputs: Path, out: Path) -> None:
    from aird_plugin.__main__ import main

    assert main(["report", str(inputs / "run"), "--pairs", str(inputs / "pairs.bin"), "--out", str(out / "report.html")]) == 0


def whole_report(out: Path) -> None:
    if (out / "report.html").exists():
        text = (out / "report.html").read_text()
        assert text.startswith("<!DOCTYPE html>") and text.rstrip().endswith("</html>")


def reported(out: Path) -> dict:
    """The page without its foot, which says when it was made, and as what file."""
    return {"page": (out / "report.html").read_text().split("<footer>")[0]}


def digest(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]


WORKS = {
    "run": Work(train, whole_run, trained),
    "two ranks": Work(lambda inputs, out: train(inputs, out, 2), whole_run, trained, ranks=2),
    "bank": Work(bank, whole_bank, built),
    "onnx": Work(export, whole_export, exported),
    "report": Work(report, whole_report, reported),
}
