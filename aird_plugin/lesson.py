"""A recipe -> what a host is given to teach: data, bank, teacher, student, objective. Both hosts begin here."""

from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from aird_plugin import distributed
from aird_plugin.data.bank import LowBank, TeacherBank
from aird_plugin.data.bank_build import open_low_bank, open_teacher_bank
from aird_plugin.data.degrade import arrive_torch
from aird_plugin.data.faces import BankFaces, Batch, Neighbours, OnlineFaces, open_records
from aird_plugin.data.lowres import to_input
from aird_plugin.data.plan import Plan
from aird_plugin.lesson_maps import open_maps
from aird_plugin.lesson_prior import NEED, WithFeatures, open_encoder, open_features
from aird_plugin.models import build
from aird_plugin.models.freeze import freeze_trunk
from aird_plugin.models.maps import map_shapes, recorded_maps
from aird_plugin.models.teacher import load_teacher, load_weights
from aird_plugin.models.teacher_maps import TeacherMaps
from aird_plugin.objective import Objective, Sizes
from aird_plugin.recipe import Recipe
from aird_plugin.runfolder import facts_of


@dataclass(kw_only=True)
class Lesson:
    """What both hosts share. `student` is the bare network; `bank` is the teacher's half, None where nobody asks the teacher."""

    recipe: Recipe
    device: torch.device
    records: object
    teacher: object | None
    bank: TeacherBank | None
    student: nn.Module
    objective: Objective
    source: BankFaces | OnlineFaces
    facts: dict
    maps: TeacherMaps | None = None
    sessions: dict = field(default_factory=dict)

    @property
    def embedding_size(self) -> int:
        return self.facts["embedding_size"]

    @property
    def teacher_centres_CD(self) -> torch.Tensor | None:
        """The teacher's classifier, of all ranks."""
        return None if self.bank is None else torch.from_numpy(np.array(self.bank.centres_CD))

    @property
    def steps_per_epoch(self) -> int:
        return self.source.plan.batches_per_epoch // self.recipe.schedule.gradient_acc

    @property
    def total_steps(self) -> int:
        return self.steps_per_epoch * self.recipe.schedule.num_epoch

    def ask_teacher(self, batch: Batch) -> Batch:
        """The batch with the teacher's embeddings, asked now where the bank did not bring them (the online path)."""
        if self.maps is not None and not batch.teacher_maps:
            embeddings_BD, maps = self.maps(batch.high_BHWC)
            return replace(batch, teacher_BD=embeddings_BD.to(self.device), teacher_maps=maps)
        if batch.teacher_BD is None and batch.high_BHWC is not None:
            embeddings_BD = torch.from_numpy(self.teacher.embed(batch.high_BHWC.cpu().numpy()))
            return replace(batch, teacher_BD=embeddings_BD.to(self.device))
        return batch

    def recorded(self):
        """Inside, the student's maps of each forward are kept in the list given; nothing where no term looks at maps."""
        return recorded_maps(self.student) if self.objective.needs & {"maps", NEED} else nullcontext(())


def prepare(recipe: Recipe) -> Lesson:
    """Open the data, build or open the bank, build the student. Raises ValueError for what does not fit."""
    device = pick_device(recipe.run.device)
    recipe = find_targets(recipe)
    records, recipe = open_faces(recipe)
    teacher = None
    if recipe.teacher.teacher:
        teacher = load_teacher(recipe.teacher.teacher, recipe.teacher.teacher_network, device.type)
    embedding_size = recipe.student.embedding_size or (teacher.dim if teacher else 512)
    student = build_student(recipe, embedding_size)
    maps = open_maps(recipe, student, teacher)
    encoder = open_encoder(recipe, device)
    sizes = Sizes(
        embedding_size, len(records), recipe.head.num_classes,
        student_channels=tuple(shape[0] for shape in map_shapes(student)) if maps or encoder else (),
        teacher_channels=maps.teacher_channels if maps else (), generative_channels=encoder.shape[0] if encoder else 0,
    )  # fmt: skip
    objective = Objective(recipe.terms, sizes, recipe.run.identity_weight)
    check_teacher_fits(recipe, objective, teacher, embedding_size)
    low, bank = open_banks(recipe, records, teacher, device)
    source = build_source(recipe, records, low, bank, objective)
    if encoder:
        source = WithFeatures(source, open_features(recipe, records, encoder))
    student = student.to(device, memory_format=torch.channels_last)
    return Lesson(
        recipe=recipe, device=device, records=records, teacher=teacher, bank=bank, student=student,
        objective=objective.to(device), source=source,
        facts=facts_of(recipe, records, teacher, student, embedding_size), maps=maps,
    )  # fmt: skip


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


def find_targets(recipe: Recipe) -> Recipe:
    """The recipe with each of val_targets as the path of a .bin file; a bare name, as arcface_torch has them, lies in `rec`.

    Raises FileNotFoundError for one that is not there, before a run rather than after its hours.
    """
    found = []
    for target in recipe.run.val_targets:
        in_rec = Path(recipe.data.rec) / f"{target}.bin"
        if not Path(target).is_file() and not in_rec.is_file():
            raise FileNotFoundError(f"val_targets: neither {target} nor {in_rec} is there; val_targets=() verifies nothing")
        found.append(target if Path(target).is_file() else str(in_rec))
    return replace(recipe, run=replace(recipe.run, val_targets=tuple(found)))


def open_banks(recipe: Recipe, records, teacher, device: torch.device) -> tuple[LowBank | None, TeacherBank | None]:
    """Both halves of the bank where the recipe wants them; rank 0 builds what is missing, the others wait."""

    def both():
        low = None if recipe.bank.online else open_low_bank(recipe.bank, records, recipe.data.px, recipe.data.degradation)
        return low, None if teacher is None else open_teacher_bank(recipe.bank, records, teacher, device.type)

    if distributed.rank() == 0:
        banks = both()
    distributed.wait_for_the_first()
    return banks if distributed.rank() == 0 else both()


def build_student(recipe: Recipe, embedding_size: int) -> nn.Module:
    """The student, initialised from the seed or from a file of the same network, its trunk frozen where the recipe says so."""
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
    if recipe.student.freeze == "trunk":
        freeze_trunk(student)
    return student


def student_input(student: nn.Module, faces_BHWC: torch.Tensor, degradation: str) -> torch.Tensor:
    """Low faces as the student takes them: brought to its own side as the degradation has it, then scaled."""
    return to_input(arrive_torch(faces_BHWC, student.input_size, degradation))


def check_teacher_fits(recipe: Recipe, objective: Objective, teacher, embedding_size: int) -> None:
    """ValueError where the terms or the head ask of the teacher what it cannot give."""
    wants_width = bool(objective.needs & {"teacher_width", "neighbours"}) or recipe.head.head_init == "teacher"
    if teacher is None and (objective.needs - {NEED} or recipe.head.head_init == "teacher"):
        wanting = ", ".join(objective.specs) or "head_init='teacher'"
        raise ValueError(f"{wanting} needs a teacher; set teacher=FILE (.pt or .onnx)")
    if teacher is not None and wants_width and teacher.dim != embedding_size:
        raise ValueError(
            f"embedding_size={embedding_size}, but the teacher's is {teacher.dim}; these terms and head_init='teacher' need "
            "one width (embedding_size=0 takes the teacher's)"
        )


def build_source(recipe: Recipe, records, low, bank, objective: Objective):
    """Where batches come from."""
    plan = Plan(
        len(records), recipe.bank.views, recipe.schedule.batch_size, recipe.run.seed,
        distributed.rank(), distributed.world_size(),
    )  # fmt: skip
    relation = next((spec for spec in objective.specs.values() if "neighbours" in spec.needs), None)
    neighbours = Neighbours(bank, relation.negatives, relation.lone_faces) if relation else None
    if recipe.bank.online:
        data, seed = recipe.data, recipe.bank.view_seed
        return OnlineFaces(plan, records, data.px, data.degradation, seed, bank is not None, neighbours)
    return BankFaces(plan, low, bank if objective.needs else None, neighbours)
