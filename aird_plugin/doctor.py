"""`aird doctor`: what is here, what is missing, what to do about it."""

import importlib.metadata
import os
import platform
from pathlib import Path

from aird_plugin.inspection.finding import Finding

EXTRAS = {"onnx": "onnxruntime", "insightface": "insightface", "arcface": "scipy", "ijb": "menpo", "report": "scikit-learn",
          "prior": "diffusers"}  # fmt: skip


def run(args) -> int:
    """Print every finding; 0 where none is a fault, else 1."""
    findings = [*about_machine()]
    if args.recipe:
        findings += about_recipe(args.recipe, args.overrides)
    if args.arcface_torch:
        from aird_plugin.bridge.doctor import about_checkout

        findings += about_checkout(args.arcface_torch)
    for finding in findings:
        print(finding)
    faults, doubts = (sum(finding.status == status for finding in findings) for status in ("fault", "doubt"))
    print((f"{faults} fault(s)" if faults else "no fault found") + (f", {doubts} doubt(s)" if doubts else ""))
    return 1 if faults else 0


def about_machine():
    """Python, packages, devices, data."""
    import torch

    yield Finding("ok", f"Python {platform.python_version()}, torch {torch.__version__}, {os.cpu_count()} cores, "
                        f"{torch.get_num_threads()} torch threads")  # fmt: skip
    for package in ("numpy", "pillow", "simplejpeg", "easydict", "filelock", "tqdm", "tensorboard"):
        yield version_of(package)
    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count()))
        yield Finding("ok", f"CUDA {torch.version.cuda}: {names}")
    else:
        yield Finding("note", "no CUDA device", "runs train on the CPU (small native students do so in minutes)")
    for extra, package in EXTRAS.items():
        found = version_of(package)
        remedy = f"pip install 'aird_plugin[{extra}]' where needed"
        yield found if found.status == "ok" else Finding("note", f"no {package}", remedy)
    data = Path(os.environ.get("AIRD_DATA", "data"))
    if data.is_dir():
        yield Finding("ok", f"AIRD_DATA={data}")
    else:
        yield Finding("note", f"no folder AIRD_DATA={data}", "recipes look there for faces and teachers")


def version_of(package: str) -> Finding:
    """Whether a package is installed, and which version."""
    try:
        return Finding("ok", f"{package} {importlib.metadata.version(package)}")
    except importlib.metadata.PackageNotFoundError:
        return Finding("fault", f"no {package}", f"pip install {package}")


def about_recipe(path: str, overrides: list[str]):
    """The recipe's keys, a line for each of its inputs, then all of them opened as a run would, then whether they make sense."""
    from aird_plugin.errors import EXPECTED
    from aird_plugin.inputs import NOTHING_AT_HAND, SOURCES, inputs_of, with_target_files
    from aird_plugin.recipe import load

    try:
        recipe = load(path, overrides)
        yield Finding("ok", f"{' '.join([path, *overrides])}: every key and value is known")
        inputs = list(inputs_of(recipe))
        for found in inputs:
            yield Finding("fault", str(found), SOURCES[found.key]) if found.problem else Finding("ok", str(found))
        if any(found.problem for found in inputs):
            yield Finding("note", NOTHING_AT_HAND)
        else:
            yield from about_contents(with_target_files(recipe))
    except EXPECTED as error:
        yield Finding("fault", path, " ".join(str(error).split()))


def about_contents(recipe):
    """What the recipe's inputs hold: images, teacher, first weights, prior; then whether they make sense together."""
    from aird_plugin.inspection.run import closely
    from aird_plugin.lesson_data import open_faces
    from aird_plugin.lesson_prior import open_encoder
    from aird_plugin.models.load import load_initial_weights, load_teacher

    records, recipe = open_faces(recipe)
    yield Finding("ok", f"{recipe.data.rec}: {len(records)} faces of {recipe.head.num_classes} people")
    teacher = None
    if recipe.teacher.teacher:
        teacher = load_teacher(recipe.teacher.teacher, recipe.teacher.teacher_network)
        yield Finding("ok", f"{recipe.teacher.teacher}: embeddings {teacher.dim} wide")
    if recipe.student.student_init:
        load_initial_weights(recipe.student.student_init, recipe.student.network)
        yield Finding("ok", f"{recipe.student.student_init}: the student starts from it")
    if encoder := open_encoder(recipe, "cpu"):
        yield Finding("ok", f"{recipe.prior.prior}: generative features {encoder.shape}")
    yield from closely(recipe, records, teacher)
