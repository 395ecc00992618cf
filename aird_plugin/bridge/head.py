"""PartialFC_V2 extended by the objective: upstream's class centers, sampling, margin and cross-entropy, then our loss terms.

G = images on all ranks, C = classes on this rank (the sampled ones if sample_rate < 1), D = embedding width, B = images on
this rank.
"""

from typing import Any

import torch
from torch.nn import functional as F

from aird_plugin.losses.margin import margin_logits
from aird_plugin.losses.sharding import SINGLE_SHARD
from aird_plugin.losses.term import Needs
from aird_plugin.models.class_centers import adapt_centers, initial_centers
from aird_plugin.models.head import ClassCosines, margin_inputs
from aird_plugin.utils import distributed


def margin(original, run):
    """Replaces CombinedMarginLoss by the recipe's margin, scale and gradient; margin_gradient="upstream" keeps it."""
    config = run.setup.recipe.head

    def make(scale, m1, m2, m3, interclass_filtering_threshold=0):
        if run.margin is not None:
            if interclass_filtering_threshold:
                raise ValueError(
                    f"interclass_filtering_threshold is of arcface_torch's own margin; it does not go with margin={config.margin}"
                )
            return run.margin
        if config.margin_gradient == "upstream":
            if m1 != 1.0 and not m3 > 0:
                raise ValueError(
                    f"margin_list={(m1, m2, m3)}: arcface_torch's own margin needs m1 = 1 or m3 > 0; set margin_gradient='exact'"
                )
            return original(config.margin_scale, m1, m2, m3, interclass_filtering_threshold)
        if interclass_filtering_threshold:
            raise ValueError("interclass_filtering_threshold is of arcface_torch's own margin; set margin_gradient='upstream'")

        def exact(cosine_GC: torch.Tensor, label_G1: torch.Tensor) -> torch.Tensor:
            return margin_logits(cosine_GC, label_G1[:, 0], (m1, m2, m3), config.margin_scale)

        return exact

    return make


class RecipeMargin:
    """The recipe's `margin`, called in place of upstream's. `set_inputs` passes the embeddings, which upstream does not.

    `regulariser` is the second output of the last call.
    """

    def __init__(self, setup) -> None:
        recipe = setup.recipe
        self.module = recipe.margin.build(recipe.head.margin_scale).to(setup.device)
        self.needs = recipe.margin.needs
        self.shards = SINGLE_SHARD if distributed.world_size() == 1 else distributed.ClassShards()
        self.inputs: tuple = (None, None)
        self.regulariser: torch.Tensor | None = None

    def set_inputs(self, student_BD, teacher_BD) -> None:
        """Set this rank's embeddings for the next call."""
        self.inputs = margin_inputs(self.needs, student_BD, teacher_BD)

    def __call__(self, cosine_GC: torch.Tensor, label_G1: torch.Tensor) -> torch.Tensor:
        logits_GC, self.regulariser = self.module(cosine_GC, label_G1[:, 0], *self.inputs, self.shards)
        self.inputs = (None, None)
        return logits_GC


class CosineRecorder:
    """Wraps the margin and records the cosines before it, for the objective.

    Called like the margin. `shards` and `cosines` are the interface that `build_loss_inputs` needs of a head.
    """

    def __init__(self, margin, run) -> None:
        self.margin = margin
        self.records_cosines = Needs.TEACHER_COSINE in run.setup.objective.needs
        self.shards = SINGLE_SHARD if distributed.world_size() == 1 else distributed.ClassShards()
        self.teacher_centers_CD: Any = None
        self.index_C: torch.Tensor | None = None
        self.student_GC: torch.Tensor | None = None
        self.label_G: torch.Tensor | None = None

    def __call__(self, cosine_GC: torch.Tensor, label_G1: torch.Tensor) -> torch.Tensor:
        self.label_G = label_G1[:, 0]
        if not self.records_cosines:
            return self.margin(cosine_GC, label_G1)
        self.student_GC = cosine_GC
        # Upstream's margin modifies its input in place.
        return self.margin(cosine_GC.clone(), label_G1)

    def cosines(self, student_BD, teacher_BD, label_B, step: int = 0) -> ClassCosines:
        """Both networks' cosines to this rank's classes, the sampled ones if upstream samples. Releases the student's."""
        student_GC, self.student_GC = self.student_GC, None
        teacher_GC = None
        if self.records_cosines and teacher_BD is not None:
            centers_CD = self.teacher_centers_CD if self.index_C is None else self.teacher_centers_CD[self.index_C]
            teacher_GC = F.normalize(distributed.gather_rows(teacher_BD)) @ centers_CD.T
        return ClassCosines(student_GC, teacher_GC, self.label_G)


def partial_fc(original, run):
    """Replaces PartialFC_V2: centers initialised by the recipe, the same parameters and state dict as upstream."""
    setup = run.setup

    class ObjectiveHead(original):
        """Returns the objective's weighted sum in place of the identity loss."""

        def __init__(self, margin_loss, embedding_size, num_classes, sample_rate=1.0, fp16=False):
            cosines = CosineRecorder(margin_loss, run)
            super().__init__(cosines, embedding_size, num_classes, sample_rate, fp16)
            with torch.no_grad():
                self.weight.copy_(centers_at_start(setup, embedding_size, own_classes(self)))
            self.weight.requires_grad_(setup.recipe.head.trained)
            if cosines.records_cosines:
                cosines.teacher_centers_CD = F.normalize(setup.teacher_centers_CD[own_classes(self)].float()).to(setup.device)
            run.head = self

        def forward(self, local_embeddings, local_labels):
            # Upstream squeezes the labels in place and its margin overwrites the cosines, so this runs first.
            before_forward(self, run, local_embeddings)
            identity = super().forward(local_embeddings, local_labels)
            if run.margin is not None and run.margin.regulariser is not None:
                identity = identity + run.margin.regulariser
            cosines = self.margin_softmax
            cosines.index_C = self.weight_index if self.sample_rate < 1 else None
            return run.loss(local_embeddings, identity, cosines)

    return ObjectiveHead


def own_classes(head) -> slice:
    """The classes of this rank's shard."""
    return slice(head.class_start, head.class_start + head.num_local)


def centers_at_start(setup, embedding_size: int, shard: slice) -> torch.Tensor:
    """The class centers of a shard as the recipe initialises them. (C, D)"""
    head = setup.recipe.head
    start_CD = setup.teacher_centers_CD if head.head_init == "teacher" else None
    return initial_centers(head.num_classes, embedding_size, shard, start_CD, setup.recipe.run.seed)


def before_forward(head, run, student_BD: torch.Tensor) -> None:
    """Before upstream's forward: update adaptive centers, pass the embeddings to the recipe's margin."""
    adaptive = run.setup.recipe.head.centers == "adaptive"
    if not adaptive and run.margin is None:
        return
    batch = run.batch = run.setup.add_teacher_outputs(run.batch)
    if adaptive:
        adapt_centers(head.weight, own_classes(head), student_BD, batch.teacher_BD, batch.label_B)
    if run.margin is not None:
        teacher_BD = None if batch.teacher_BD is None else batch.teacher_BD.float()
        run.margin.set_inputs(student_BD, teacher_BD)
