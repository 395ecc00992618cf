"""A recipe -> the student: new, from initial weights, or from an .onnx file; what the recipe freezes is frozen."""

import torch
from torch import nn

from aird_plugin.config.recipe import Recipe
from aird_plugin.config.sections import StudentConfig
from aird_plugin.models import build
from aird_plugin.models.freeze import freeze_statistics, freeze_trunk
from aird_plugin.models.from_weights import check_numbers, check_types
from aird_plugin.models.load import load_initial_weights, load_onnx_student
from aird_plugin.models.onnx_network import OnnxNetwork
from aird_plugin.models.registry import ONNX


def build_student(recipe: Recipe, embedding_size: int) -> nn.Module:
    """The student, initialised from the seed or from student_init; what the recipe freezes is frozen."""
    torch.manual_seed(recipe.run.seed)
    spec = recipe.student
    student = new_onnx_student(spec) if spec.network == ONNX else new_student(spec, embedding_size)
    if spec.freeze == "trunk":
        freeze_trunk(student)
    if spec.batchnorm == "frozen" or (spec.batchnorm == "auto" and spec.network == ONNX):
        freeze_statistics(student)
    return student


def new_onnx_student(spec: StudentConfig) -> OnnxNetwork:
    """The graph of student_init. ValueError where the recipe names another width."""
    assert spec.student_init is not None
    student = load_onnx_student(spec.student_init, spec.student_input)
    if spec.embedding_size not in (0, student.dim):
        raise ValueError(f"embedding_size={spec.embedding_size}, but {spec.student_init} has {student.dim}; leave it 0")
    return student


def new_student(spec: StudentConfig, embedding_size: int) -> nn.Module:
    """A network with new weights, or with those of student_init."""
    student = build(spec.network, embedding_size)
    if spec.student_init:
        weights = load_initial_weights(spec.student_init, spec.network)
        try:
            student.load_state_dict(weights)
        except RuntimeError as error:
            raise ValueError(
                f"student_init={spec.student_init} does not fit network={spec.network} with "
                f"embedding_size={embedding_size}: {str(error).splitlines()[-1].strip()}"
            ) from error
        check_types(weights, student, spec.student_init)
        check_numbers(weights, spec.student_init)
    return student


def layers_of(student: nn.Module, first_layer_lr: float) -> list[nn.Parameter]:
    """The student's parameters for the optimizer, from the image to the embedding where the layers' learning rates differ.

    With one rate they come as registered, which is the order of the momentum in every checkpoint written before.
    """
    if first_layer_lr != 1 and isinstance(student, OnnxNetwork):
        return student.layers()
    return list(student.parameters())
