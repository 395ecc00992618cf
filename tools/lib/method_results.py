"""The second half of bench_methods.py: rows of the finished runs, tests of their differences, tables."""

import subprocess
import sys
from pathlib import Path

from aird_plugin.config.recipe_file import recipe_path
from tools.lib.aird_factors import RECIPE as FACTORS
from tools.lib.method import folder_of
from tools.lib.methods import AIRD, COSINE, METHODS, SMALL

ROOT = Path(__file__).resolve().parents[2]
TEACHER = "teacher on LR images"


def common_recipe(args):
    """The recipe whose teacher and test files hold for all methods."""
    from aird_plugin.config.recipe import load

    name = FACTORS if any(METHODS[name].factors for name in args.chosen) else SMALL
    return load(recipe_path(ROOT / "recipes", name), args.set)


def evaluate(args, finished: list[tuple[str, int]]) -> dict[str, list[list[dict]]]:
    """Name -> the rows of each seed, for every finished run and the teacher on LR images. Existing rows are reused."""
    from aird_plugin.evaluation.eval_spec import PROTOCOLS, TRAINING
    from aird_plugin.evaluation.pair_evaluator import PairEvaluator
    from aird_plugin.models.find import find_model
    from aird_plugin.models.load import load_model, load_teacher
    from aird_plugin.models.training_means import read_means
    from aird_plugin.utils.files import file_sha256
    from aird_plugin.utils.memory import keep_freed_memory
    from tools.lib.method_comparison import identities_in, read_or_evaluate

    keep_freed_memory()
    recipe = common_recipe(args)
    teacher = load_teacher(args.teacher or recipe.teacher.teacher)
    evaluators = {target: PairEvaluator(teacher, target, teacher) for target in recipe.run.val_targets}
    args.label_of = {Path(target).stem: identities_in(evaluator) for target, evaluator in evaluators.items()}

    named = "" if args.teacher is None else f"-{teacher.sha256[:8]}"
    kept, centre = f"rows{named}{'-centred' if args.training_centre else ''}.json", args.training_centre and TRAINING
    models = {"student": teacher.sha256, "teacher": teacher.sha256}
    results = {TEACHER: [read_or_evaluate(args.folder / f"rows{named}.json", evaluators, args.px, PROTOCOLS, models=models)]}
    for name, seed in finished:
        folder = folder_of(args, name, seed)
        protocols = PROTOCOLS if METHODS[name].teachers_space else PROTOCOLS[:1]
        student = load_model(folder)
        means = read_means(folder, student) if centre else None
        own = {target: evaluator.with_student(student, means) for target, evaluator in evaluators.items()}
        models = {"student": file_sha256(find_model(folder).file), "teacher": teacher.sha256}
        results.setdefault(name, []).append(read_or_evaluate(folder / kept, own, args.px, protocols, centre, models))
    return results


def significance(args, results: dict) -> list[dict]:
    """The tests of every method against AIRD and cosine regression, or against the one it names."""
    from tools.lib.method_comparison import pairwise_tests

    against = {name: method.against for name, method in METHODS.items() if method.against}
    return pairwise_tests(results, [AIRD, COSINE], args.px[0], args.label_of, against)


def collected(args, results: dict, tests: list[dict], finished: list[tuple[str, int]]) -> dict:
    """The JSON file: keys of all runs, a row per method, seed and spec with its factors, and the tests."""
    from tools.lib.method_comparison import flat_rows

    labels = {name: [METHODS[name].factors | {"seed": seed} for other, seed in finished if other == name] for name, _ in finished}
    return {"set": args.set, "rows": flat_rows(results, labels), "tests": tests}


def tables(args, results: dict, tests: list[dict], finished: list[tuple[str, int]]) -> str:
    """Markdown: accuracy on each file, costs, and the tests."""
    from tools.lib.method_comparison import accuracy_table, cost_table, pairwise_table

    parts = [f"{stem}\n\n{accuracy_table(results, stem)}" for stem in args.label_of]
    folders = {name: [folder_of(args, other, seed) for other, seed in finished if other == name] for name, _ in finished}
    parts.append(cost_table(folders))
    parts += [
        f"{args.px[0]} px, {len(tests)} tests\n\n{pairwise_table(tests, reference)}"
        for reference in dict.fromkeys((AIRD, COSINE, *(row["b"] for row in tests)))
        if reference in results
    ]
    return "\n\n".join(parts)


def report(args, finished: list[tuple[str, int]]) -> None:
    """Run `aird report` on every finished run, in its own process."""
    recipe = common_recipe(args)
    subprocess.run(
        [
            sys.executable,
            "-m",
            "aird_plugin",
            "report",
            *(str(folder_of(args, *run)) for run in finished),
            "--out",
            args.report,
            "--pairs",
            *recipe.run.val_targets,
            "--px",
            *map(str, args.px),
            "--teacher",
            args.teacher or recipe.teacher.teacher,
        ],
        check=True,
    )
