"""The settings of one evaluation. Importing this module loads nothing else, so that the command line can use it at once."""

from dataclasses import dataclass, replace
from typing import NamedTuple


class Adaptation(NamedTuple):
    """FaceBN of one evaluation. order: a seed that shuffles the images over the batches, None for the order of the file.
    include_bn1d: BatchNorm1d too."""

    mode: str
    keep: float
    order: int | None
    include_bn1d: bool = False


# Values of `EvalSpec.protocol`.
PROTOCOLS = ("lr-lr", "lr-hr")
# Value of `EvalSpec.centre`: by the means over the training images.
TRAINING = "training"


@dataclass(frozen=True)
class EvalSpec:
    """What one row of figures measures.

    px: side of the LR images. 112 leaves the HR images untouched. A 112 px network gets the LR images upsampled to 112 px, a
        native student gets them at its own side (resized once more if px is another side). None (identification only) takes
        the images as they are.
    protocol: "lr-lr" downsamples both images of a pair, or probes and gallery; "lr-hr" downsamples the first image of a pair, or
        the probes alone.
    high_side: the network that embeds the HR images of lr-hr, "student" or "teacher". None: the student if it takes 112 px
        images, else the teacher.
    facebn, keep: None or a mode of `FaceBN`, and its weight of the old statistics. FaceBN adapts the student alone, LR and HR
        images in batches and contexts of their own; the teacher is never adapted. "full" adapts to the very images that are
        tested.
    include_bn1d: whether FaceBN adapts BatchNorm1d too, the embedding layer's, which nearly centers and whitens the embeddings.
    order: "file", or a seed that shuffles the images over the batches.
    centre: subtract from each L2-normalised embedding the mean of its side (one mean in lr-lr, one per side in lr-hr) and
        normalise again: the control without which FaceBN gets undue credit. No BatchNorm is touched. Pairs only.
        "training" uses no test image: each network's outputs are centered by their mean over the training images
        (models/training_means.py), the student's by the student's and the teacher's by the teacher's.
    degradation: how HR images become LR and reach the network, a name of data/degradation.py.
    """

    px: int | None = None
    protocol: str = "lr-lr"
    high_side: str | None = None
    facebn: str | None = None
    keep: float = 0.9
    order: str | int = "file"
    centre: bool | str = False
    degradation: str = "bicubic"
    include_bn1d: bool = False

    @classmethod
    def of(cls, *spec, **fields) -> "EvalSpec":
        """A spec from its fields, by position or name, (16, "lr-lr", keep=0.1), or from an EvalSpec and the fields to change."""
        if spec and isinstance(spec[0], cls):
            return replace(*spec, **fields)
        return cls(*spec, **fields)

    @property
    def adaptation(self) -> Adaptation | None:
        """FaceBN's settings, None without FaceBN."""
        if self.facebn is None:
            return None
        return Adaptation(self.facebn, self.keep, None if self.order == "file" else self.order, self.include_bn1d)
