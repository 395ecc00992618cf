"""PartialFC_V2 with the objective behind it: upstream's class centres, sampling, margin and cross-entropy, our sum of terms.

G = faces on all ranks, C = classes on this rank (sampled ones, where sampling is on), D = embedding width, B = faces here.
"""

import torch
from torch.nn import functional as F

from aird_plugin import distributed
from aird_plugin.losses.margin import margin_logits
from aird_plugin.losses.sharding import WHOLE
from aird_plugin.models.head import ClassCosines, adapt_centres, faces_told, initial_centres


def margin(original, hosted):
    """CombinedMarginLoss: the recipe's margin, scale and gradient. margin_gradient="upstream" is upstream's own class."""
    recipe = hosted.lesson.recipe.head

    def make(scale, m1, m2, m3, interclass_filtering_threshold=0):
        if hosted.margin is not None:
            if interclass_filtering_threshold:
                raise ValueError(
                    f"interclass_filtering_threshold is arcface_torch's own margin's; it does not go with margin={recipe.margin}"
                )
            return hosted.margin
        if recipe.margin_gradient == "upstream":
            if m1 != 1.0 and not m3 > 0:
                raise ValueError(
                    f"margin_list={(m1, m2, m3)}: arcface_torch's own margin wants m1 = 1 or m3 > 0; set margin_gradient='exact'"
                )
            return original(recipe.margin_scale, m1, m2, m3, interclass_filtering_threshold)
        if interclass_filtering_threshold:
            raise ValueError("interclass_filtering_threshold is arcface_torch's own margin's; set margin_gradient='upstream'")

        def exact(cosine_GC: torch.Tensor, label_G1: torch.Tensor) -> torch.Tensor:
            return margin_logits(cosine_GC, label_G1[:, 0], (m1, m2, m3), recipe.margin_scale)

        return exact

    return make


class NamedMargin:
    """A recipe's own margin where upstream calls its margin; what upstream does not hand over is told before its forward.

    `regulariser` is what the last call gave beside the logits.
    """

    def __init__(self, lesson):
        recipe = lesson.recipe
        self.module = recipe.margin.build(recipe.head.margin_scale).to(lesson.device)
        self.needs = recipe.margin.needs
        self.shards = WHOLE if distributed.world_size() == 1 else distributed.ClassShards()
        self.told: tuple = (None, None)
        self.regulariser: torch.Tensor | None = None

    def tell(self, student_BD, teacher_BD) -> None:
        """This rank's embeddings of the batch to come."""
        self.told = faces_told(self.needs, student_BD, teacher_BD)

    def __call__(self, cosine_GC: torch.Tensor, label_G1: torch.Tensor) -> torch.Tensor:
        logits_GC, self.regulariser = self.module(cosine_GC, label_G1[:, 0], *self.told, self.shards)
        self.told = (None, None)
        return logits_GC


class Cosines:
    """Stands before the margin, where upstream's head has the plain cosines in hand, and keeps them for the objective.

    Called as the margin is. `shards` and `cosines` are what `objective.look` asks of a head.
    """

    def __init__(self, margin, hosted):
        self.margin = margin
        self.kept = "teacher_cosine" in hosted.lesson.objective.needs
        self.shards = WHOLE if distributed.world_size() == 1 else distributed.ClassShards()
        self.teacher_centres_CD = None
        self.index_C: torch.Tensor | None = None
        self.student_GC: torch.Tensor | None = None
        self.label_G: torch.Tensor | None = None

    def __call__(self, cosine_GC: torch.Tensor, label_G1: torch.Tensor) -> torch.Tensor:
        self.label_G = label_G1[:, 0]
        if not self.kept:
            return self.margin(cosine_GC, label_G1)
        self.student_GC = cosine_GC
        # Upstream's margin works in place.
        return self.margin(cosine_GC.clone(), label_G1)

    def cosines(self, student_BD, teacher_BD, person_B, step: int = 0) -> ClassCosines:
        """Both networks' cosines to this rank's classes, the sampled ones where upstream sampled. Lets go of the student's."""
        student_GC, self.student_GC = self.student_GC, None
        teacher_GC = None
        if self.kept and teacher_BD is not None:
            centres_CD = self.teacher_centres_CD if self.index_C is None else self.teacher_centres_CD[self.index_C]
            teacher_GC = F.normalize(distributed.gather_rows(teacher_BD)) @ centres_CD.T
        return ClassCosines(student_GC, teacher_GC, self.label_G)


def partial_fc(original, hosted):
    """PartialFC_V2, its centres from the recipe's start. Its parameters and its state dict stay upstream's own."""
    lesson = hosted.lesson

    class ObjectiveHead(original):
        """Gives the objective's sum where upstream expects the identity loss."""

        def __init__(self, margin_loss, embedding_size, num_classes, sample_rate=1.0, fp16=False):
            cosines = Cosines(margin_loss, hosted)
            super().__init__(cosines, embedding_size, num_classes, sample_rate, fp16)
            shard = slice(self.class_start, self.class_start + self.num_local)
            teacher_centres_CD = lesson.teacher_centres_CD
            start_CD = teacher_centres_CD if lesson.recipe.head.head_init == "teacher" else None
            with torch.no_grad():
                self.weight.copy_(initial_centres(lesson.recipe.head, embedding_size, shard, start_CD, lesson.recipe.run.seed))
            self.weight.requires_grad_(lesson.recipe.head.trained)
            if cosines.kept:
                cosines.teacher_centres_CD = F.normalize(teacher_centres_CD[shard].float()).to(lesson.device)
            hosted.head = self

        def before(self, student_BD):
            """What of the step comes before upstream's head: the teacher moves the centres, the margin hears of the faces."""
            adaptive = lesson.recipe.head.head_adaptive
            if not adaptive and hosted.margin is None:
                return
            batch = hosted.batch = lesson.ask_teacher(hosted.batch)
            if adaptive:
                shard = slice(self.class_start, self.class_start + self.num_local)
                adapt_centres(self.weight, shard, student_BD, batch.teacher_BD, batch.person_B)
            if hosted.margin is not None:
                teacher_BD = None if batch.teacher_BD is None else batch.teacher_BD.float()
                hosted.margin.tell(student_BD, teacher_BD)

        def forward(self, local_embeddings, local_labels):
            # Upstream squeezes the labels in place and its margin writes into the cosines: what needs either comes first.
            self.before(local_embeddings)
            identity = super().forward(local_embeddings, local_labels)
            if hosted.margin is not None and hosted.margin.regulariser is not None:
                identity = identity + hosted.margin.regulariser
            cosines = self.margin_softmax
            cosines.index_C = self.weight_index if self.sample_rate < 1 else None
            return hosted.loss(local_embeddings, identity, cosines)

    return ObjectiveHead
