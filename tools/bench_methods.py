"""Train methods with several seeds on one budget, evaluate them alike, test the differences. Resumable: run it again.

    python tools/bench_methods.py runs/methods --jobs 2
    python tools/bench_methods.py runs/methods --group ablation --seeds 0 1 2
    python tools/bench_methods.py runs/methods --only AIRD DKD --set num_epoch=2 --report report.html
    python tools/bench_methods.py runs/factors --group factors --px 16 --json factors.json

A method is one recipe, or several in sequence (the last student counts), each trained in its own process, with one thread if
--jobs is above 1. Finished runs are kept, interrupted ones resume from their checkpoints. Every student is evaluated at each
px, LR-LR and LR-HR (the teacher embeds the HR side unless the student takes 112 px), on the recipes' own test files; the rows
are written to rows.json in its folder, one file per --teacher. The tables contain all finished runs. The group "factors" is
AIRD's ablation by factors (recipes/ablations/faces15k_aird_factors.py).
"""

import argparse
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from aird_plugin.utils.threads import bound_spinning

bound_spinning()

from aird_plugin.config.recipe_file import recipe_path
from aird_plugin.utils.files import write_atomically
from aird_plugin.utils.paths import expand_arguments
from tools.lib.method import folder_of
from tools.lib.method_results import collected, evaluate, report, significance, tables
from tools.lib.methods import METHODS

ROOT = Path(__file__).resolve().parents[1]
MB = 1024


def main() -> int:
    args = arguments()
    named = args.only or [name for name, method in METHODS.items() if method.group in args.group]
    chosen = {name: method for name, method in METHODS.items() if name in named}
    args.chosen = list(chosen)
    queue = [(name, seed) for name, method in chosen.items() for seed in args.seeds or range(method.seeds)]
    queue.sort(key=lambda item: item[1])
    for recipe in dict.fromkeys(method.first for method in chosen.values() if method.first):
        if train_stages(args, recipe, args.folder / recipe, [(recipe, [])], 0):
            return 1
    with ThreadPoolExecutor(args.jobs) as pool:
        codes = list(pool.map(lambda item: train(args, *item), queue))
    finished = [item for item, code in zip(queue, codes, strict=True) if code == 0]
    results = evaluate(args, finished)
    tests = significance(args, results)
    print(tables(args, results, tests, finished))
    if args.json:
        write_atomically(args.json, json.dumps(collected(args, results, tests, finished), indent=1).encode())
    if args.report:
        report(args, finished)
    return max(codes, default=0)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--group", nargs="+", choices=sorted({method.group for method in METHODS.values()}), default=["methods"])
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=list(METHODS), help="these methods, of any group")
    parser.add_argument("--seeds", type=int, nargs="+", help="default: 0, or 0 1 2 for the main methods")
    parser.add_argument("--jobs", type=int, default=1, help="concurrent runs")
    parser.add_argument("--px", type=int, nargs="+", default=[16, 32, 64, 112], help="methods are compared at the first one")
    parser.add_argument("--teacher", default=None, help="teacher that embeds the HR side; default: the recipe's")
    parser.add_argument("--training-centre", action="store_true", help="center by the training means, as `aird evaluate` does")
    parser.add_argument("--set", nargs="*", default=[], metavar="key=value", help="recipe keys for all runs")
    parser.add_argument("--report", metavar="FILE", help="also write `aird report` of all runs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all rows and tests to this file")
    return expand_arguments(parser.parse_args())


def train(args, name: str, seed: int) -> int:
    """Train one run of a method. Returns the exit status."""
    method = METHODS[name]
    first = f"{args.folder}/{method.first}"
    stages = [(recipe, [key.replace("{first}", first) for key in keys]) for recipe, keys in method.stages]
    return train_stages(args, name, folder_of(args, name, seed), stages, seed)


def train_stages(args, name: str, folder: Path, stages: list, seed: int) -> int:
    """Train all stages of one run, each in its own process; their output goes to FOLDER/log. Returns the exit status."""
    if (folder / "done").exists():
        # All rows of a table must have the same budget.
        if (before := json.loads((folder / "done").read_text()).get("set", args.set)) != args.set:
            print(f"{name}: {folder} was trained with --set {before}, now {args.set}; name another folder, or remove this one")
        return int(before != args.set)
    folder.mkdir(parents=True, exist_ok=True)
    cost = {"seconds": 0.0, "peak_mb": 0.0}
    for number, (recipe, overrides) in enumerate(stages, 1):
        output = folder if number == len(stages) else folder / f"stage{number}"
        previous = folder / f"stage{number - 1}"
        keys = [override.replace("{previous}", str(previous)) for override in overrides]
        print(f"{name}, seed {seed}: training {recipe}", flush=True)
        code = run_recipe(args, recipe, [*keys, *args.set, f"output={output}", f"seed={seed}", "val_targets=()"], folder, cost)
        if code:
            print(f"{name}, seed {seed}: failed, see {folder}/log", flush=True)
            return code
    write_atomically(folder / "done", json.dumps(cost | {"set": args.set}).encode())
    print(f"{name}, seed {seed}: done in {cost['seconds']:.0f} s", flush=True)
    return 0


def run_recipe(args, recipe: str, keys: list[str], folder: Path, cost: dict) -> int:
    """Run `train.py`; adds its seconds to `cost` and raises its peak memory."""
    command = [sys.executable, str(ROOT / "train.py"), str(recipe_path(ROOT / "recipes", recipe)), *keys]
    env = os.environ | ({"OMP_NUM_THREADS": "1"} if args.jobs > 1 else {})
    started = time.monotonic()
    with (folder / "log").open("a") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=env)
        _, status, usage = os.wait4(process.pid, 0)
    cost["seconds"] += time.monotonic() - started
    cost["peak_mb"] = max(cost["peak_mb"], usage.ru_maxrss / MB)
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(main())
