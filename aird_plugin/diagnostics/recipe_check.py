"""Checks of a recipe: its keys, and its inputs opened as a run opens them."""

from collections.abc import Iterator

from aird_plugin.config.recipe import Recipe
from aird_plugin.diagnostics.diagnostic import Diagnostic
from aird_plugin.utils.counts import counted, counted_identities


def check_recipe(path: str, overrides: list[str], arcface_torch: bool = False) -> Iterator[Diagnostic]:
    """Check the recipe's keys, that each input exists, that all inputs open, and that their contents fit together.

    arcface_torch: whether the run will be inside it, where other keys have an effect.
    """
    from aird_plugin.config.recipe import load
    from aird_plugin.diagnostics.ignored_keys import ignored_keys
    from aird_plugin.training.inputs import (
        NOTHING_AT_HAND,
        SOURCES,
        absent_targets,
        inputs_of,
        with_student_init,
        with_target_files,
    )
    from aird_plugin.utils.devices import pick_device
    from aird_plugin.utils.errors import EXPECTED

    try:
        recipe = load(path, overrides)
        yield Diagnostic("ok", f"{' '.join([path, *overrides])}: every key and value is known")
        yield from ignored_keys(recipe, pick_device(recipe.run.device).type, arcface_torch)
        inputs = list(inputs_of(recipe))
        for found in inputs:
            yield Diagnostic("error", str(found), SOURCES[found.key]) if found.problem else Diagnostic("ok", str(found))
        yield from absent_targets(recipe)
        if any(found.problem for found in inputs):
            yield Diagnostic("note", NOTHING_AT_HAND)
        else:
            yield from check_contents(with_student_init(with_target_files(recipe)))
    except EXPECTED as error:
        yield Diagnostic("error", path, " ".join(str(error).split()))


def check_contents(recipe: Recipe) -> Iterator[Diagnostic]:
    """Open the training images, teacher, initial weights and prior, then check that they fit together."""
    from aird_plugin.data.records import originals
    from aird_plugin.diagnostics.checks import check_all
    from aird_plugin.models.load import load_initial_weights, load_onnx_student
    from aird_plugin.models.registry import ONNX
    from aird_plugin.prior.state import check_keys
    from aird_plugin.training.data import open_faces
    from aird_plugin.training.effect import check_effect, check_remainder
    from aird_plugin.training.prior_features import open_encoder
    from aird_plugin.training.unlabelled import check_unlabelled

    records, recipe = open_faces(recipe)
    labels = f"of {counted_identities(recipe.head.num_classes)}" if recipe.data.labels else "without labels"
    blends = f", and {counted(recipe.data.blends, 'blend')} of each" if recipe.data.blends else ""
    yield Diagnostic("ok", f"{recipe.data.rec}: {counted(len(originals(records)), 'image')} {labels}{blends}")
    if recipe.prior.prior_side:
        check_keys(recipe)
    else:
        check_unlabelled(recipe)
        check_effect(recipe, len(records))
        yield from check_remainder(recipe, len(records))
    teacher = recipe.teacher.load()
    if teacher is not None:
        yield Diagnostic("ok", f"{teacher.path}: {teacher.dim}-d embeddings")
    if recipe.student.network == ONNX:
        student = load_onnx_student(recipe.student.student_init, recipe.student.student_input)
        parameters = sum(parameter.numel() for parameter in student.parameters())
        yield Diagnostic("ok", f"{recipe.student.student_init}: trainable, {parameters:,} parameters, {student.dim}-d embeddings")
    elif recipe.student.student_init:
        load_initial_weights(recipe.student.student_init, recipe.student.network)
        yield Diagnostic("ok", f"{recipe.student.student_init}: initial weights of the student")
    if encoder := open_encoder(recipe, "cpu"):
        yield Diagnostic("ok", f"{recipe.prior.prior}: generative features of shape {encoder.shape}")
    yield from check_all(recipe, records, teacher)
