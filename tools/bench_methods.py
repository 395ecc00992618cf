"""Train methods with several seeds on one budget, test them alike, say who wins. Resumable: run it again.

    python tools/bench_methods.py runs/methods --jobs 2
    python tools/bench_methods.py runs/methods --group ablation --seeds 0 1 2
    python tools/bench_methods.py runs/methods --only AIRD DKD --set num_epoch=2 --report report.html

A method is a recipe, or several one after another (the last one's student counts), each trained in a process of its own, with one
thread where --jobs is above 1. Finished runs are kept, interrupted ones go on from their checkpoints. Every student is asked at
each px, LR-LR and LR-HR (the teacher embeds the high side where the student takes no 112 px), on the recipes' own test files; its
answers are kept in rows.json of its folder, a file for each --teacher. The tables are made of whatever is finished.
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

from aird_plugin.threads import bound_spinning

bound_spinning()

from aird_plugin.files import write_atomically
from aird_plugin.paths import expand_arguments
from tools.methods import AIRD, COSINE, METHODS, SMALL

ROOT = Path(__file__).resolve().parents[1]
TEACHER = "teacher on low faces"
MB = 1024


def main() -> int:
    args = arguments()
    named = args.only or [name for name, method in METHODS.items() if method.group in args.group]
    chosen = {name: method for name, method in METHODS.items() if name in named}
    queue = [(name, seed) for name, method in chosen.items() for seed in args.seeds or range(method.seeds)]
    queue.sort(key=lambda item: item[1])
    for recipe in dict.fromkeys(method.first for method in chosen.values() if method.first):
        if train_stages(args, recipe, args.folder / recipe, [(recipe, [])], 0):
            return 1
    with ThreadPoolExecutor(args.jobs) as pool:
        codes = list(pool.map(lambda item: train(args, *item), queue))
    finished = [item for item, code in zip(queue, codes, strict=True) if code == 0]
    results = evaluate(args, finished)
    print(tables(args, results, finished))
    if args.report:
        report(args, finished)
    return max(codes, default=0)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--group", nargs="+", choices=sorted({method.group for method in METHODS.values()}), default=["methods"])
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=list(METHODS), help="these methods, of whatever group")
    parser.add_argument("--seeds", type=int, nargs="+", help="default: 0, or 0 1 2 for the methods that matter most")
    parser.add_argument("--jobs", type=int, default=1, help="runs side by side")
    parser.add_argument("--px", type=int, nargs="+", default=[16, 32, 64, 112], help="methods are compared at the first one")
    parser.add_argument("--teacher", default=None, help="the teacher for the high side; default: the recipe's")
    parser.add_argument("--set", nargs="*", default=[], metavar="key=value", help="recipe keys for all runs")
    parser.add_argument("--report", metavar="FILE", help="also write `aird report` of all runs")
    return expand_arguments(parser.parse_args())


def folder_of(args, name: str, seed: int) -> Path:
    """Where the run lies whose student counts."""
    slug = "".join(c if c.isalnum() else "_" for c in name.lower())
    return args.folder / f"{slug}-seed{seed}"


def train(args, name: str, seed: int) -> int:
    """One run of a method. Gives the exit status."""
    method = METHODS[name]
    first = f"{args.folder}/{method.first}"
    stages = [(recipe, [key.replace("{first}", first) for key in keys]) for recipe, keys in method.stages]
    return train_stages(args, name, folder_of(args, name, seed), stages, seed)


def train_stages(args, name: str, folder: Path, stages: list, seed: int) -> int:
    """All stages of one run, each in a process of its own; their output goes to a log beside them. Gives the exit status."""
    if (folder / "done").exists():
        # One table holds one budget.
        if (before := json.loads((folder / "done").read_text()).get("set", args.set)) != args.set:
            print(f"{name}: {folder} was trained with --set {before}, now {args.set}; name another folder, or remove that one")
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
    """One `train.py`; adds its seconds to `cost`, and its peak memory where that is more."""
    command = [sys.executable, str(ROOT / "train.py"), str(ROOT / "recipes" / f"{recipe}.py"), *keys]
    env = os.environ | ({"OMP_NUM_THREADS": "1"} if args.jobs > 1 else {})
    started = time.monotonic()
    with (folder / "log").open("a") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=env)
        _, status, usage = os.wait4(process.pid, 0)
    cost["seconds"] += time.monotonic() - started
    cost["peak_mb"] = max(cost["peak_mb"], usage.ru_maxrss / MB)
    return os.waitstatus_to_exitcode(status)


def evaluate(args, finished: list[tuple[str, int]]) -> dict[str, list[list[dict]]]:
    """Name -> the rows of each seed, of every finished run and of the teacher on low faces. What a run answered once is kept."""
    from aird_plugin.evaluation.contest import answers, people_on
    from aird_plugin.evaluation.protocol import PROTOCOLS, Session
    from aird_plugin.memory import keep_freed_memory
    from aird_plugin.models.load import load_model, load_teacher
    from aird_plugin.recipe import load

    keep_freed_memory()
    recipe = load(ROOT / "recipes" / f"{SMALL}.py")
    teacher = load_teacher(args.teacher or recipe.teacher.teacher)
    sessions = {target: Session(teacher, target, teacher) for target in recipe.run.val_targets}
    args.person_of = {Path(target).stem: people_on(session) for target, session in sessions.items()}

    kept = "rows.json" if args.teacher is None else f"rows-{teacher.sha256[:8]}.json"
    results = {TEACHER: [answers(args.folder / kept, sessions, args.px, PROTOCOLS)]}
    for name, seed in finished:
        folder = folder_of(args, name, seed)
        protocols = PROTOCOLS if METHODS[name].teachers_space else PROTOCOLS[:1]
        mine = {target: session.with_student(load_model(folder)) for target, session in sessions.items()}
        results.setdefault(name, []).append(answers(folder / kept, mine, args.px, protocols))
    return results


def tables(args, results: dict, finished: list[tuple[str, int]]) -> str:
    """All of it as Markdown: accuracy on each file, costs, and who beats AIRD and cosine regression."""
    from aird_plugin.evaluation.contest import accuracy_table, cost_table, duel_table, duels

    parts = [f"{stem}\n\n{accuracy_table(results, stem)}" for stem in args.person_of]
    folders = {name: [folder_of(args, who, seed) for who, seed in finished if who == name] for name, _ in finished}
    parts.append(cost_table(folders))
    rows = duels(results, [AIRD, COSINE], args.px[0], args.person_of)
    parts += [f"{args.px[0]} px, {len(rows)} tests\n\n{duel_table(rows, rival)}" for rival in (AIRD, COSINE) if rival in results]
    return "\n\n".join(parts)


def report(args, finished: list[tuple[str, int]]) -> None:
    """`aird report` of every run, in a process of its own."""
    from aird_plugin.recipe import load

    recipe = load(ROOT / "recipes" / f"{SMALL}.py")
    subprocess.run(
        [sys.executable, "-m", "aird_plugin", "report", *(str(folder_of(args, *run)) for run in finished), "--out", args.report,
         "--pairs", *recipe.run.val_targets, "--px", *map(str, args.px), "--teacher", args.teacher or recipe.teacher.teacher],
        check=True,
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
