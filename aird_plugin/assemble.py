"""A recipe -> the objects of a run, on this rank's device."""

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from aird_plugin import distributed
from aird_plugin.data.bank import LowBank, TeacherBank
from aird_plugin.data.bank_build import open_low_bank, open_teacher_bank
from aird_plugin.data.faces import BankFaces, Neighbours, OnlineFaces, open_records
from aird_plugin.data.lowres import resize_torch, to_input
from aird_plugin.data.plan import Plan
from aird_plugin.models import build
from aird_plugin.models.head import Head
from aird_plugin.models.teacher import load_teacher, load_weights
from aird_plugin.objective import Objective
from aird_plugin.recipe import Recipe
from aird_plugin.runfolder import facts_of
from aird_plugin.schedule import build_optimizer


@dataclass
class Training:
    """What the loop turns. `student` is the bare network; `network` is what is called (the student, compiled, in DDP)."""

    recipe: Recipe
    device: torch.device
    student: nn.Module
    network: nn.Module
    head: Head
    objective: Objective
    shared_optimizer: torch.optim.Optimizer
    head_optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    source: BankFaces | OnlineFaces
    teacher: object | None
    facts: dict
    sessions: dict = field(default_factory=dict)

    @property
    def steps_per_epoch(self) -> int:
        return self.source.plan.batches_per_epoch // self.recipe.schedule.gradient_acc

    @property
    def total_steps(self) -> int:
        return self.steps_per_epoch * self.recipe.schedule.num_epoch


def pick_device(name: str) -> torch.device:
    """"auto" is this rank's GPU where there is one. ValueError where CUDA is asked for and absent."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("device=cuda, but this torch sees no CUDA device; use device=cpu or install a CUDA build of torch")
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    device = torch.device("cuda", distributed.local_rank())
    torch.cuda.set_device(device)
    return device


def open_faces(recipe: Recipe):
    """The training faces, and the recipe with num_classes filled in. ValueError where recipe and data disagree."""
    records = open_records(recipe.data.rec)
    wanted = recipe.data.num_image
    if wanted and wanted != len(records):
        raise ValueError(f"num_image={wanted}, but {recipe.data.rec} holds {len(records)} faces")
    classes = recipe.head.num_classes or records.num_classes
    labels = np.asarray(records.labels)
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(
            f"labels in {recipe.data.rec} run from {labels.min()} to {labels.max()}, but num_classes={classes}; "
            "num_classes=0 takes as many as the data have"
        )
    return records, replace(recipe, head=replace(recipe.head, num_classes=classes))


def open_banks(recipe: Recipe, records, teacher, device: torch.device) -> tuple[LowBank | None, TeacherBank | None]:
    """Both halves of the bank where the recipe wants them; rank 0 builds what is missing, the others wait."""

    def both():
        low = None if recipe.bank.online else open_low_bank(recipe.bank, records, recipe.data.px)
        return low, None if teacher is None else open_teacher_bank(recipe.bank, records, teacher, device.type)

    if distributed.rank() == 0:
        banks = both()
    distributed.barrier()
    return banks if distributed.rank() == 0 else both()


def build_student(recipe: Recipe, embedding_size: int) -> nn.Module:
    """The student, initialised from the seed or from a file of the same network."""
    torch.manual_seed(recipe.run.seed)
    student = build(recipe.student.network, embedding_size)
    if recipe.student.student_init:
        weights = load_weights(recipe.student.student_init)
        try:
            student.load_state_dict(weights)
        except RuntimeError as error:
            raise ValueError(
                f"student_init={recipe.student.student_init} does not fit network={recipe.student.network} with "
                f"embedding_size={embedding_size}: {str(error).splitlines()[-1].strip()}"
            ) from error
    return student


def student_input(student: nn.Module, faces_BHWC: torch.Tensor) -> torch.Tensor:
    """Low faces as the student takes them: grown to its own side by the one resize, then scaled."""
    return to_input(resize_torch(faces_BHWC, student.input_size))


def assemble(recipe: Recipe) -> Training:
    """Open the data, build or open the bank, build networks and optimizers. Raises ValueError for what does not fit."""
    device = pick_device(recipe.run.device)
    records, recipe = open_faces(recipe)
    teacher = None
    if recipe.teacher.teacher:
        teacher = load_teacher(recipe.teacher.teacher, recipe.teacher.teacher_network, device.type)
    embedding_size = recipe.student.embedding_size or (teacher.dim if teacher else 512)
    objective = Objective(recipe.terms, embedding_size, recipe.run.identity_weight)
    check_teacher_fits(recipe, objective, teacher, embedding_size)
    low, bank = open_banks(recipe, records, teacher, device)
    student = build_student(recipe, embedding_size).to(device, memory_format=torch.channels_last)
    head = build_head(recipe, embedding_size, bank).to(device)
    objective.to(device)
    network = torch.compile(student) if recipe.run.compile else student
    if distributed.world_size() > 1:
        device_ids = [device] if device.type == "cuda" else None
        # BatchNorm statistics stay each rank's own, as in arcface_torch; rank 0's are saved.
        network = DistributedDataParallel(network, device_ids, broadcast_buffers=False)
    return Training(
        recipe, device, student, network, head, objective,
        shared_optimizer=build_optimizer(recipe.schedule, [*student.parameters(), *objective.parameters()]),
        head_optimizer=build_optimizer(recipe.schedule, head.parameters()),
        scaler=torch.amp.GradScaler(enabled=recipe.run.fp16 and device.type == "cuda"),
        source=build_source(recipe, records, low, bank, objective),
        teacher=teacher,
        facts=facts_of(recipe, records, teacher, student, embedding_size),
    )  # fmt: skip


def check_teacher_fits(recipe: Recipe, objective: Objective, teacher, embedding_size: int) -> None:
    """ValueError where the terms or the head ask of the teacher what it cannot give."""
    wants_width = bool(objective.needs & {"teacher_width", "neighbours"}) or recipe.head.head_init == "teacher"
    if teacher is None and (objective.needs or recipe.head.head_init == "teacher"):
        wanting = ", ".join(objective.specs) or "head_init='teacher'"
        raise ValueError(f"{wanting} needs a teacher; set teacher=FILE (.pt or .onnx)")
    if teacher is not None and wants_width and teacher.dim != embedding_size:
        raise ValueError(
            f"embedding_size={embedding_size}, but the teacher's is {teacher.dim}; these terms and head_init='teacher' need "
            "one width (embedding_size=0 takes the teacher's)"
        )


def build_head(recipe: Recipe, embedding_size: int, bank: TeacherBank | None) -> Head:
    """The class centres, from the teacher's or at random; the teacher's stand beside them for IID."""
    teacher_centres_CD = None if bank is None else torch.from_numpy(np.array(bank.centres_CD))
    initial_CD = teacher_centres_CD if recipe.head.head_init == "teacher" else None
    return Head(recipe.head, embedding_size, initial_CD, teacher_centres_CD, recipe.run.seed)


def build_source(recipe: Recipe, records, low, bank, objective: Objective):
    """Where batches come from."""
    plan = Plan(
        len(records), recipe.bank.views, recipe.schedule.batch_size, recipe.run.seed,
        distributed.rank(), distributed.world_size(),
    )  # fmt: skip
    relation = next((spec for spec in objective.specs.values() if "neighbours" in spec.needs), None)
    neighbours = Neighbours(bank, relation.negatives, relation.lone_faces) if relation else None
    if recipe.bank.online:
        return OnlineFaces(plan, records, recipe.data.px, recipe.bank.view_seed, bank is not None, neighbours)
    return BankFaces(plan, low, bank if objective.needs else None, neighbours)
