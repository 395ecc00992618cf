"""A recipe -> data, bank, teacher, student and objective. Both hosts, the embedded loop and arcface_torch, start here."""

import sys
from collections.abc import Iterable
from itertools import chain

import torch
from torch import nn

from aird_plugin.config.recipe import Recipe
from aird_plugin.data.bank.caches import ImageCache, TeacherCache
from aird_plugin.data.records import Records
from aird_plugin.diagnostics.checks import at_start
from aird_plugin.diagnostics.diagnostic import Diagnostic
from aird_plugin.models.feature_maps import map_shapes
from aird_plugin.models.onnx_network import OnnxNetwork
from aird_plugin.models.teacher import Teacher
from aird_plugin.models.teacher_feature_maps import TeacherMaps
from aird_plugin.training.anchors import set_anchors, set_left_out
from aird_plugin.training.data import check_teacher_fits, open_caches, open_faces
from aird_plugin.training.effect import check_effect, check_remainder, check_single_image
from aird_plugin.training.feature_maps import open_maps
from aird_plugin.training.inputs import check_inputs, with_student_init, with_target_files
from aird_plugin.training.objective import LossDims, Objective
from aird_plugin.training.prior_features import WithFeatures, open_encoder, open_features
from aird_plugin.training.resume_from import check_resume_from
from aird_plugin.training.run_folder import run_metadata
from aird_plugin.training.setup import TrainingSetup
from aird_plugin.training.shuffle import with_shuffle
from aird_plugin.training.source import build_source
from aird_plugin.training.student import build_student
from aird_plugin.training.teacher_projection import projected_width
from aird_plugin.training.unlabelled import check_unlabelled
from aird_plugin.training.weight_average import WeightAverage
from aird_plugin.utils import distributed
from aird_plugin.utils.devices import pick_device


def build_setup(recipe: Recipe) -> TrainingSetup:
    """Open the data, build or open the bank, build the student. Raises ValueError for a recipe that does not fit its inputs."""
    device = pick_device(recipe.run.device)
    recipe.tracker.check_installed()
    check_inputs(recipe)
    recipe = with_student_init(with_target_files(recipe))
    recipe.sizes.check_against(recipe.data.px, recipe.head, recipe.data.degradation)
    records, recipe = open_images(recipe)
    teacher = recipe.teacher.load(device.type)
    embedding_size = recipe.student.embedding_size or (projected_width(recipe.terms, teacher) if teacher else 512)
    ordered = with_shuffle(recipe, len(records))
    student = build_student(recipe, embedding_size)
    check_single_image(recipe, student)
    embedding_size = student.dim if isinstance(student, OnnxNetwork) else embedding_size
    maps = open_maps(recipe, student, teacher)
    encoder = open_encoder(recipe, device)
    objective = build_objective(recipe, student, embedding_size, len(records), maps, encoder)
    check_teacher_fits(recipe, objective, teacher, embedding_size)
    check_resume_from(recipe, student, embedding_size)
    images, bank = open_bank(recipe, records, teacher, objective, device)
    source = build_source(ordered, records, images, bank, objective, student.input_size, device)
    student = student.to(device, memory_format=torch.channels_last)
    metadata = run_metadata(recipe, records, teacher, student, embedding_size) | {"shuffle": ordered.data.shuffle}
    metadata |= {"prior": encoder.describe()} if encoder else {}
    return TrainingSetup(
        recipe=recipe,
        device=device,
        records=records,
        teacher=teacher,
        bank=bank,
        student=student,
        objective=objective.to(device),
        source=WithFeatures(source, open_features(recipe, records, encoder)) if encoder else source,
        metadata=metadata,
        maps=maps,
        average=WeightAverage(student, recipe.schedule.weight_average) if recipe.schedule.weight_average else None,
    )


def open_bank(
    recipe: Recipe, records: Records, teacher: Teacher | None, objective: Objective, device: torch.device
) -> tuple[list[ImageCache], TeacherCache | None]:
    """What `open_caches` returns, with the terms' anchors and left-out centers set from it. Prints the warnings on the data."""
    images, bank = open_caches(recipe, records, teacher, device)
    set_anchors(objective, bank, recipe.run.seed)
    set_left_out(objective, bank, recipe.head.centers)
    print_warnings(chain(check_remainder(recipe, len(records)), at_start(recipe, records, bank)))
    return images, bank


def build_objective(
    recipe: Recipe, student: nn.Module, embedding_size: int, num_images: int, maps: TeacherMaps | None, encoder
) -> Objective:
    """The terms with their parameters."""
    dims = LossDims(
        embedding_size,
        num_images,
        recipe.head.num_classes,
        len(recipe.sizes.also_px),
        student_channels=tuple(shape[0] for shape in map_shapes(student)) if maps or encoder else (),
        teacher_channels=maps.teacher_channels if maps else (),
        generative_channels=encoder.shape[0] if encoder else 0,
        seed=recipe.run.seed,
    )
    return Objective(recipe.terms, dims, recipe.run.identity_weight)


def open_images(recipe: Recipe) -> tuple[Records, Recipe]:
    """What `open_faces` returns. Raises ValueError also for a run without labels that needs them, or that would train nothing."""
    records, recipe = open_faces(recipe)
    check_unlabelled(recipe)
    check_effect(recipe, len(records))
    return records, recipe


def print_warnings(diagnostics: Iterable[Diagnostic]) -> None:
    """Print diagnostics on stderr, on rank 0; the other ranks do not run the checks."""
    if distributed.rank() == 0:
        for diagnostic in diagnostics:
            print(diagnostic, file=sys.stderr, flush=True)
