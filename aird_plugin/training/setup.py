"""What both hosts of a training, the embedded loop and arcface_torch's, share: data, bank, teacher, student and objective."""

from contextlib import nullcontext
from dataclasses import dataclass, field, replace

import torch
from torch import nn
from torch.nn import functional as F

from aird_plugin.config.recipe import Recipe
from aird_plugin.data.bank.caches import TeacherCache
from aird_plugin.data.batch import Batch
from aird_plugin.data.batches import BankFaces
from aird_plugin.data.degradation import BICUBIC, downsample_torch, resize_to_network_torch
from aird_plugin.data.lowres import to_input
from aird_plugin.data.multi_size import DrawnSizes
from aird_plugin.data.online_batches import OnlineFaces
from aird_plugin.data.records import Records
from aird_plugin.losses.term import Needs
from aird_plugin.models.feature_maps import recorded_maps
from aird_plugin.models.teacher import Teacher
from aird_plugin.models.teacher_feature_maps import TeacherMaps
from aird_plugin.training.data import teacher_needs
from aird_plugin.training.objective import Objective
from aird_plugin.training.prior_features import WithFeatures
from aird_plugin.training.weight_average import WeightAverage


@dataclass(kw_only=True)
class TrainingSetup:
    """What both hosts share. `student` is the bare network that is trained; `bank` is the teacher cache, None without a teacher;
    `average` is None without weight_average."""

    recipe: Recipe
    device: torch.device
    records: Records
    teacher: Teacher | None
    bank: TeacherCache | None
    student: nn.Module
    objective: Objective
    source: BankFaces | OnlineFaces | DrawnSizes | WithFeatures
    metadata: dict
    maps: TeacherMaps | None = None
    average: WeightAverage | None = None
    evaluators: dict = field(default_factory=dict)

    @property
    def deployed(self) -> nn.Module:
        """The student that is verified and saved: the average of its weights where the recipe sets `weight_average`."""
        return self.average.averaged if self.average else self.student

    @property
    def embedding_size(self) -> int:
        return self.metadata["embedding_size"]

    @property
    def teacher_centers_CD(self) -> torch.Tensor | None:
        """The teacher's classifier, of all ranks, mapped from the bank."""
        return None if self.bank is None else torch.from_numpy(self.bank.centers_CD)

    @property
    def steps_per_epoch(self) -> int:
        return self.source.sampler.batches_per_epoch // self.recipe.schedule.gradient_acc

    @property
    def total_steps(self) -> int:
        return self.steps_per_epoch * self.recipe.schedule.num_epoch

    @property
    def input_degradation(self) -> str:
        """How a step's images are resized to the student's input; images of a drawn px or degradation were resized before."""
        data, sizes = self.recipe.data, self.recipe.sizes
        return BICUBIC if sizes.drawn_range(data.px, data.degradation) else str(data.degradation)

    @property
    def uses_teacher(self) -> bool:
        """Whether a term, the margin or the head needs the teacher's outputs."""
        return self.bank is not None and bool(teacher_needs(self.recipe, self.objective))

    def to_device(self, batch: Batch) -> Batch:
        """The batch on the training device; downsampled or degraded there where the source left that to it."""
        batch = batch.to(self.device)
        if batch.resize is not None:
            return replace(batch, images_BHWC=batch.resize(batch.images_BHWC), resize=None)
        if batch.images_BHWC is not None:
            return batch
        data, sizes = self.recipe.data, self.recipe.sizes
        first, *also = (downsample_torch(batch.hr_BHWC, px, data.degradation) for px in (data.px, *sizes.also_px))
        return replace(batch, images_BHWC=first, also_PBSSC=tuple(also))

    def add_teacher_outputs(self, batch: Batch) -> Batch:
        """The batch with the teacher's embeddings, computed now where the bank did not provide them (the online path)."""
        if self.maps is not None and not batch.teacher_maps:
            embeddings_BD, maps = self.maps(batch.hr_BHWC)
            return replace(batch, teacher_BD=self.bank.project(embeddings_BD).to(self.device), teacher_maps=maps)
        if batch.teacher_BD is None and batch.hr_BHWC is not None and self.uses_teacher:
            return replace(batch, teacher_BD=self.online_targets(batch.hr_BHWC))
        return batch

    def online_targets(self, hr_BHWC: torch.Tensor) -> torch.Tensor:
        """The teacher's embeddings (B, D), as in the bank; the sum over both flips with `teacher_flip_mean`."""
        target_BD = self.bank.project(self.teacher.embed_torch(hr_BHWC)).to(self.device)
        if not self.recipe.teacher.teacher_flip_mean:
            return target_BD
        mirrored_BD = self.bank.project(self.teacher.embed_torch(hr_BHWC.flip(2))).to(self.device)
        return F.normalize(target_BD.float()) + F.normalize(mirrored_BD.float())

    def network_input(self, images_BHWC: torch.Tensor) -> torch.Tensor:
        """LR images as the student's input: resized to its side as the degradation defines, then normalised. (B, 3, S, S)"""
        return to_input(resize_to_network_torch(images_BHWC, self.student.input_size, self.input_degradation))

    def network_inputs(self, batch: Batch) -> torch.Tensor:
        """The inputs of a step: the images, followed by the same images at each additional size. (B + P * B, 3, S, S)"""
        inputs = [self.network_input(images_BSSC) for images_BSSC in (batch.images_BHWC, *batch.also_PBSSC)]
        return torch.cat(inputs) if len(inputs) > 1 else inputs[0]

    def record_feature_maps(self):
        """A context that records the student's feature maps in a list; empty where no term compares maps."""
        return recorded_maps(self.student) if self.objective.needs & {Needs.MAPS, Needs.GENERATIVE} else nullcontext(())
