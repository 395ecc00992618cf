"""The works that tools/kill.py kills. Each is one call that resumes when it is repeated.

`prepare` makes the inputs, `run` is the work, `check` raises if a finished file is incomplete, and `result` returns what must
equal the uninterrupted work's. Folders: `inputs` is read-only, `out` belongs to the work.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

IDENTITIES, IMAGES = 6, 4
LOSS = "aird_plugin.losses"


@dataclass(frozen=True)
class Work:
    """ranks: the number of processes of the work."""

    run: Callable[[Path, Path], None]
    check: Callable[[Path], None]
    result: Callable[[Path], dict]
    ranks: int = 1


def prepare(inputs: Path) -> None:
    """Write training images, a teacher, a bank, a trained run and pairs."""
    import torch

    from aird_plugin.data.images import encode_jpeg
    from aird_plugin.data.pairs import write_pairs
    from aird_plugin.data.recordio.face_records import write_face_records
    from aird_plugin.data.synthetic.draw import draw_person
    from aird_plugin.models import build

    jpegs = {(label, number): encode_jpeg(draw_person(label, number)) for label in range(IDENTITIES) for number in range(IMAGES)}
    write_face_records(inputs / "faces", ((label, jpeg) for (label, _), jpeg in jpegs.items()))
    same = [bool(n % 2) for n in range(20)]
    images = [jpegs[label % IDENTITIES, n % IMAGES] for n in range(20) for label in (n, n + 1 - n % 2)]
    write_pairs(inputs / "pairs.bin", images, same)
    torch.manual_seed(0)
    torch.save(build("native112_0.05m", 8).state_dict(), inputs / "teacher.pt")
    train(inputs, inputs / "run")


def keys(inputs: Path, out: Path, ranks: int = 1) -> dict:
    """The recipe of a run of twelve steps with a checkpoint at every second one."""
    return {
        "rec": str(inputs / "faces"),
        "teacher": str(inputs / "teacher.pt"),
        "teacher_network": "native112_0.05m",
        "network": "native16_0.05m",
        "px": 16,
        "bank": str(inputs / "bank"),
        "head_init": "teacher",
        "batch_size": 8 // ranks,
        "lr": 0.05,
        "num_epoch": 4,
        "schedule": "cosine",
        "device": "cpu",
        "bank_hard": 12,
        "rid_negatives": 8,
        "terms": {"iid": f"{LOSS}.instance:IID", "rid": f"{LOSS}.relation:RID"},
        "save_steps": 2,
        "frequent": 1,
        "val_targets": (str(inputs / "pairs.bin"),),
        "output": str(out),
        "rank_timeout": 20.0,
    }


def train(inputs: Path, out: Path, ranks: int = 1) -> None:
    from aird_plugin.config.recipe import from_flat
    from aird_plugin.training.loop import train as train_embedded

    train_embedded(from_flat(keys(inputs, out, ranks)))


def check_run(out: Path) -> None:
    from aird_plugin.training.checkpoint import load_latest
    from aird_plugin.utils.torch_files import safe_torch_load

    load_latest(out / "checkpoints")
    if (out / "model.pt").exists():
        safe_torch_load(out / "model.pt")
    for name in ("recipe.json", "evaluation.json"):
        if (out / name).exists():
            json.loads((out / name).read_text())


def run_result(out: Path) -> dict:
    """Weights, every tensor of the last checkpoint, every line of the log except its speed, and the accuracies."""
    from aird_plugin.training.checkpoint import load_latest
    from aird_plugin.utils.torch_files import safe_torch_load, tensors_in

    shared, heads = load_latest(out / "checkpoints")
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return {
        "model": [digest(x.numpy()) for x in tensors_in(safe_torch_load(out / "model.pt"))],
        "checkpoint": [digest(x.numpy()) for x in tensors_in([shared, heads])],
        "metrics": [{key: value for key, value in line.items() if key != "samples_per_s"} for line in lines],
        "accuracy": [row["accuracy"] for row in json.loads((out / "evaluation.json").read_text())],
    }


def bank(inputs: Path, out: Path, block: int = 5, **keys: int) -> None:
    from aird_plugin.data import blocks
    from aird_plugin.data.bank import build
    from aird_plugin.data.bank.config import BankConfig
    from aird_plugin.data.records import open_records
    from aird_plugin.models.load import load_teacher

    # Several blocks, so that a killed build can resume.
    blocks.BLOCK = block
    config, records = BankConfig(bank=str(out), bank_hard=12, **keys), open_records(str(inputs / "faces"))
    build.open_image_cache(config, records, 16)
    build.open_teacher_cache(config, records, load_teacher(str(inputs / "teacher.pt"), "native112_0.05m", "cpu"))


def bank_in_shards(inputs: Path, out: Path) -> None:
    """The bank in shards of seven images, by the ranks that the environment names."""
    bank(inputs, out, block=3, bank_shard_images=7)


def check_bank(out: Path) -> None:
    from aird_plugin.data.bank.files import check_sums

    for manifest in [*out.glob("*/manifest.json"), *out.glob("*/shard-*/manifest.json")]:
        check_sums(manifest.parent, json.loads(manifest.read_text()))


def bank_result(out: Path) -> dict:
    return {manifest.parent.name: json.loads(manifest.read_text())["crc32"] for manifest in out.glob("*/manifest.json")}


def export(inputs: Path, out: Path) -> None:
    from aird_plugin.__main__ import main

    if not (out / "student").exists():
        assert main(["export", str(inputs / "run"), "--out", str(out / "student"), "--count", "4"]) == 0


def check_export(out: Path) -> None:
    import onnx

    if (out / "student").exists():
        assert (out / "student" / "MODEL_CARD.md").read_text().endswith("\n")
        for file in (out / "student").rglob("*.onnx"):
            onnx.checker.check_model(str(file), full_check=True)


def export_result(out: Path) -> dict:
    import onnx

    files = sorted((out / "student").rglob("*.onnx"))
    return {file.name: digest(np.frombuffer(onnx.load(file).graph.SerializeToString(), np.uint8)) for file in files}


def report(inputs: Path, out: Path) -> None:
    from aird_plugin.__main__ import main

    assert main(["report", str(inputs / "run"), "--pairs", str(inputs / "pairs.bin"), "--out", str(out / "report.html")]) == 0


def check_report(out: Path) -> None:
    if (out / "report.html").exists():
        text = (out / "report.html").read_text()
        assert text.startswith("<!DOCTYPE html>") and text.rstrip().endswith("</html>")


def report_result(out: Path) -> dict:
    """The page without its footer, which holds the date and file name."""
    return {"page": (out / "report.html").read_text().split("<footer>")[0]}


def digest(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]


WORKS = {
    "run": Work(train, check_run, run_result),
    "two ranks": Work(lambda inputs, out: train(inputs, out, 2), check_run, run_result, ranks=2),
    "bank": Work(bank, check_bank, bank_result),
    "bank in shards": Work(bank_in_shards, check_bank, bank_result, ranks=2),
    "onnx": Work(export, check_export, export_result),
    "report": Work(report, check_report, report_result),
}
