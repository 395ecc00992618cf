"""A recipe -> what a host is given to teach: data, bank, teacher, student, objective. Both hosts begin here."""

import sys
from contextlib import nullcontext
from dataclasses import dataclass, field, replace

import torch
from torch import nn

from aird_plugin import distributed
from aird_plugin.data.bank import TeacherBank
from aird_plugin.data.degrade import BICUBIC, arrive_torch, shrink_torch
from aird_plugin.data.faces import BankFaces, Batch, OnlineFaces
from aird_plugin.data.lowres import to_input
from aird_plugin.data.sizes import DrawnSizes
from aird_plugin.inputs import check_inputs, with_target_files
from aird_plugin.inspection.run import at_start
from aird_plugin.lesson_data import build_source, needs_of, open_banks, open_faces
from aird_plugin.lesson_maps import open_maps
from aird_plugin.lesson_prior import NEED, WithFeatures, open_encoder, open_features
from aird_plugin.models import build
from aird_plugin.models.freeze import freeze_trunk
from aird_plugin.models.load import load_initial_weights, load_teacher
from aird_plugin.models.maps import map_shapes, recorded_maps
from aird_plugin.models.teacher_maps import TeacherMaps
from aird_plugin.objective import Objective, Sizes
from aird_plugin.recipe import Recipe
from aird_plugin.runfolder import facts_of
from aird_plugin.teacher_adapter import taught_width


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
    source: BankFaces | OnlineFaces | DrawnSizes
    facts: dict
    maps: TeacherMaps | None = None
    sessions: dict = field(default_factory=dict)

    @property
    def embedding_size(self) -> int:
        return self.facts["embedding_size"]

    @property
    def teacher_centres_CD(self) -> torch.Tensor | None:
        """The teacher's classifier, of all ranks, mapped from the bank."""
        return None if self.bank is None else torch.from_numpy(self.bank.centres_CD)

    @property
    def steps_per_epoch(self) -> int:
        return self.source.plan.batches_per_epoch // self.recipe.schedule.gradient_acc

    @property
    def total_steps(self) -> int:
        return self.steps_per_epoch * self.recipe.schedule.num_epoch

    @property
    def arrival(self) -> str:
        """How a step's faces come to the student's side; sizes that are drawn per face have arrived in the source."""
        return BICUBIC if self.recipe.sizes.px_range else self.recipe.data.degradation

    @property
    def asks_teacher(self) -> bool:
        """Whether a term, the margin or the head looks at what the teacher says."""
        return self.bank is not None and bool(needs_of(self.recipe, self.objective))

    def receive(self, batch: Batch) -> Batch:
        """The batch on the device that trains; its faces are shrunk there where the source left that to it."""
        batch = batch.to(self.device)
        if batch.faces_BHWC is not None:
            return batch
        data, sizes = self.recipe.data, self.recipe.sizes
        first, *also = (shrink_torch(batch.high_BHWC, px, data.degradation) for px in (data.px, *sizes.also_px))
        return replace(batch, faces_BHWC=first, also_PBSSC=tuple(also))

    def ask_teacher(self, batch: Batch) -> Batch:
        """The batch with the teacher's embeddings, asked now where the bank did not bring them (the online path)."""
        if self.maps is not None and not batch.teacher_maps:
            embeddings_BD, maps = self.maps(batch.high_BHWC)
            return replace(batch, teacher_BD=self.bank.as_taught(embeddings_BD).to(self.device), teacher_maps=maps)
        if batch.teacher_BD is None and batch.high_BHWC is not None and self.asks_teacher:
            embeddings_BD = self.teacher.embed_torch(batch.high_BHWC)
            return replace(batch, teacher_BD=self.bank.as_taught(embeddings_BD).to(self.device))
        return batch

    def recorded(self):
        """Inside, the student's maps of each forward are kept in the list given; nothing where no term looks at maps."""
        return recorded_maps(self.student) if self.objective.needs & {"maps", NEED} else nullcontext(())


def prepare(recipe: Recipe) -> Lesson:
    """Open the data, build or open the bank, build the student. Raises ValueError for what does not fit."""
    device = pick_device(recipe.run.device)
    check_inputs(recipe)
    recipe = with_target_files(recipe)
    recipe.sizes.check_against(recipe.data.px, recipe.head)
    records, recipe = open_faces(recipe)
    teacher = None
    if recipe.teacher.teacher:
        teacher = load_teacher(recipe.teacher.teacher, recipe.teacher.teacher_network, device.type)
    embedding_size = recipe.student.embedding_size or (taught_width(recipe.terms, teacher) if teacher else 512)
    student = build_student(recipe, embedding_size)
    maps = open_maps(recipe, student, teacher)
    encoder = open_encoder(recipe, device)
    sizes = Sizes(
        embedding_size, len(records), recipe.head.num_classes, len(recipe.sizes.also_px),
        student_channels=tuple(shape[0] for shape in map_shapes(student)) if maps or encoder else (),
        teacher_channels=maps.teacher_channels if maps else (), generative_channels=encoder.shape[0] if encoder else 0,
    )  # fmt: skip
    objective = Objective(recipe.terms, sizes, recipe.run.identity_weight)
    check_teacher_fits(recipe, objective, teacher, embedding_size)
    low, bank = open_banks(recipe, records, teacher, device)
    if distributed.rank() == 0:
        for finding in at_start(recipe, records, bank):
            print(finding, file=sys.stderr)
    source = build_source(recipe, records, low, bank, objective, student.input_size, device)
    if encoder:
        source = WithFeatures(source, open_features(recipe, records, encoder))
    student = student.to(device, memory_format=torch.channels_last)
    facts = facts_of(recipe, records, teacher, student, embedding_size) | ({"prior": encoder.describe()} if encoder else {})
    return Lesson(
        recipe=recipe, device=device, records=records, teacher=teacher, bank=bank, student=student,
        objective=objective.to(device), source=source,
        facts=facts, maps=maps,
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


def build_student(recipe: Recipe, embedding_size: int) -> nn.Module:
    """The student, initialised from the seed or from a file of the same network, its trunk frozen where the recipe says so."""
    torch.manual_seed(recipe.run.seed)
    student = build(recipe.student.network, embedding_size)
    if recipe.student.student_init:
        weights = load_initial_weights(recipe.student.student_init, recipe.student.network)
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
    needs = needs_of(recipe, objective)
    wants_width = bool(needs & {"teacher_width", "neighbours", "adapted"}) or recipe.head.head_init == "teacher"
    if teacher is None and (needs - {NEED} or recipe.head.head_init == "teacher"):
        head = "head_init='teacher'" if recipe.head.head_init == "teacher" else recipe.head.margin or "head_adaptive"
        wanting = ", ".join(name for name, spec in objective.specs.items() if spec.needs - {NEED}) or head
        raise ValueError(f"{wanting} needs a teacher; set teacher=FILE (.pt or .onnx)")
    if teacher is not None and wants_width and (width := taught_width(recipe.terms, teacher)) != embedding_size:
        raise ValueError(
            f"embedding_size={embedding_size}, but the teacher's is {width}; these terms and head_init='teacher' need "
            "one width (embedding_size=0 takes the teacher's)"
        )
