"""The ablation on real faces: train each variant with several seeds, evaluate, print a table. Resumable: run it again.

    python tools/bench_ablation.py runs/ablation --seeds 0 1 2 --jobs 2

Each run is its recipe with another seed, in a folder of its own, one thread each where --jobs is above 1. Finished runs are kept,
interrupted ones go on from their checkpoint, and the table is made of whatever is finished. Teacher embeddings of the test faces
are computed once for all.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SMALL = "faces15k_small_lr16"
VARIANTS = {
    "low-from-scratch": (f"{SMALL}_scratch", []),
    "cls": (f"{SMALL}_cls", []),
    "cls + IID": (f"{SMALL}_iid", []),
    "cls + RID": (f"{SMALL}_rid", []),
    "AIRD (cls + IID + RID)": (SMALL, []),
    "AIRD, random class centres": (SMALL, ["head_init=random"]),
    "AIRD, 2 views": (SMALL, ["views=2"]),
    "AIRD, RID as InfoNCE": (SMALL, ["rid_contrast=infonce"]),
    "cosine regression": (f"{SMALL}_cosine", []),
    "AIRD + alignment": (f"{SMALL}_align", []),
}
ADAPTED = {
    "AIRD (cls + IID + RID)": {
        "FaceBN stateless, keep 0.9": {"facebn": "stateless", "keep": 0.9, "order": 0},
        "FaceBN stateless, keep 0.1 (printed)": {"facebn": "stateless", "keep": 0.1, "order": 0},
        "embeddings centred (control)": {"centre": True},
    }
}


def main() -> int:
    args = arguments()
    chosen = [name for name in VARIANTS if not args.only or name in args.only]
    queue = [(name, seed) for seed in args.seeds for name in chosen]
    with ThreadPoolExecutor(args.jobs) as pool:
        codes = list(pool.map(lambda item: train(args, *item), queue))
    rows = evaluate(args, [item for item, code in zip(queue, codes, strict=True) if code == 0])
    (args.folder / "rows.json").write_text(json.dumps(rows, indent=1))
    print(table(rows))
    return max(codes)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", choices=list(VARIANTS), help="some of the variants")
    parser.add_argument("--jobs", type=int, default=1, help="runs side by side")
    parser.add_argument("--teacher", default=None, help="the teacher for the high side; default: the recipe's")
    parser.add_argument("--set", nargs="*", default=[], metavar="key=value", help="recipe keys for all runs")
    return parser.parse_args()


def run_folder(args, name: str, seed: int) -> Path:
    slug = "".join(c if c.isalnum() else "_" for c in name.lower())
    return args.folder / f"{slug}-seed{seed}"


def train(args, name: str, seed: int) -> int:
    """One run in a process of its own; its output goes to a log beside it."""
    folder = run_folder(args, name, seed)
    if (folder / "done").exists():
        return 0
    recipe, overrides = VARIANTS[name]
    folder.mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable, str(ROOT / "train.py"), str(ROOT / "recipes" / f"{recipe}.py"), *overrides, *args.set,
        f"output={folder}", f"seed={seed}", "val_targets=()",
    ]  # fmt: skip
    env = os.environ | ({"OMP_NUM_THREADS": "1"} if args.jobs > 1 else {})
    print(f"{name}, seed {seed}: training", flush=True)
    started = time.monotonic()
    with (folder / "log").open("a") as log:
        code = subprocess.run(command, stdout=log, stderr=log, env=env, cwd=ROOT).returncode
    if code == 0:
        (folder / "done").write_text(f"{time.monotonic() - started:.0f} s\n")
    print(f"{name}, seed {seed}: {'done' if code == 0 else f'failed, see {folder}/log'}", flush=True)
    return code


def evaluate(args, finished: list[tuple[str, int]]) -> list[dict]:
    """Rows of every finished run and of the teacher on low faces, on both test files at 16 px."""
    from aird_plugin.evaluation.load import load_model
    from aird_plugin.evaluation.protocol import Session
    from aird_plugin.models.teacher import load_teacher
    from aird_plugin.recipe import load

    recipe = load(ROOT / "recipes" / f"{SMALL}.py")
    teacher = load_teacher(args.teacher or recipe.teacher.teacher)
    rows = []
    for target in recipe.run.val_targets:
        session = Session(teacher, target, teacher)
        for protocol in ("lr-lr", "lr-hr"):
            rows.append({"name": "teacher on low faces", "seed": None, **session.evaluate(16, protocol)})
        for name, seed in finished:
            session = session.with_student(load_model(run_folder(args, name, seed)))
            comparable = name not in ("low-from-scratch", "AIRD, random class centres")
            for label, options in {"": {}, **ADAPTED.get(name, {})}.items():
                for protocol in ("lr-lr", "lr-hr") if comparable else ("lr-lr",):
                    row = session.evaluate(16, protocol, **options)
                    rows.append({"name": f"{name}, {label}" if label else name, "seed": seed, **row})
    return rows


def table(rows: list[dict]) -> str:
    """Markdown: a line for each name, mean over seeds and their standard deviation."""
    columns = {(Path(row["pairs"]).stem, row["protocol"]) for row in rows}
    columns = sorted(columns, key=lambda c: (c[0] != "lfw_split", c[1] != "lr-lr"))
    head = "| | " + " | ".join(f"{stem} {protocol.upper()}" for stem, protocol in columns) + " | seeds |"
    lines = [head, "|---" * (len(columns) + 2) + "|"]
    for name in dict.fromkeys(row["name"] for row in rows):
        mine = [row for row in rows if row["name"] == name]
        cells = [figure([r["accuracy"] for r in mine if (Path(r["pairs"]).stem, r["protocol"]) == c]) for c in columns]
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {len({row['seed'] for row in mine})} |")
    return "\n".join(lines)


def figure(values: list[float]) -> str:
    if not values:
        return "n/a"
    spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.2f}{spread}"


if __name__ == "__main__":
    sys.exit(main())
