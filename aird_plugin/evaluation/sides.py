"""What the evaluators of pairs and of galleries share: which network embeds a side, what it gets, and FaceBN around it.

N = images, S = side of the network's input, D = embedding width.
"""

import numpy as np
import torch
from torch import nn

from aird_plugin.data.constants import FACE_SIDE
from aird_plugin.data.degradation import BICUBIC, downsample, resize_to_network
from aird_plugin.evaluation.embed import embed, eval_mode, network_inputs
from aird_plugin.evaluation.eval_spec import PROTOCOLS, TRAINING, Adaptation, EvalSpec
from aird_plugin.models.facebn import FaceBN
from aird_plugin.models.training_means import TrainingMeans

HIGH_SIDES = ("student", "teacher")


def center(network, role: str, means: TrainingMeans | None):
    """The network with outputs centered by the training means. ValueError where there are none for it."""
    if means is None:
        raise ValueError("centre='training' needs the training means of the model's run; none were given")
    return means.center(role, network)


def check_eval_spec(student, teacher, spec: EvalSpec) -> str | None:
    """The role of the network that embeds the HR side, None in lr-lr. ValueError for a spec these networks do not support."""
    if spec.protocol not in PROTOCOLS:
        raise ValueError(f"protocol must be one of {', '.join(PROTOCOLS)}, got {spec.protocol!r}")
    # 1 and NumPy's True are equal to True, but would not be taken for it.
    if not (isinstance(spec.centre, bool) or spec.centre == TRAINING):
        raise ValueError(f"centre must be False, True or {TRAINING!r}, got {spec.centre!r}")
    if spec.high_side not in (None, *HIGH_SIDES):
        raise ValueError(f"high_side must be one of {', '.join(HIGH_SIDES)}, got {spec.high_side!r}")
    if spec.facebn is not None:
        if not isinstance(student, nn.Module):
            raise ValueError("FaceBN adapts BatchNorm layers in PyTorch; an .onnx has none left: give the .pt")
        FaceBN(student, spec.keep, spec.facebn, spec.include_bn1d)
    elif spec.include_bn1d:
        raise ValueError("include_bn1d is for FaceBN: set facebn to a mode")
    if spec.protocol == "lr-lr":
        return None
    side = input_side(student)
    high_side = spec.high_side or ("student" if side == FACE_SIDE else "teacher")
    if high_side == "teacher" and teacher is None:
        why = f" (the default for a student of {side} px)" if side != FACE_SIDE else ""
        raise ValueError(f"lr-hr with the teacher on the high side{why} needs a teacher: name its file (--teacher)")
    return high_side


def input_side(network) -> int:
    """Side in pixels of a network's input images; 112 for a teacher."""
    return getattr(network, "input_size", FACE_SIDE)


def as_network_input(images_NHWC: np.ndarray, px: int, side: int, degradation: str = BICUBIC) -> np.ndarray:
    """112 px images -> images of `px` at the input side of a network. uint8 (N, 112, 112, 3) -> uint8 (N, side, side, 3).

    A 112 px network gets the image downsampled to px and upsampled to 112. A native one gets the downsampled image itself,
    resized once more where px is not its own side. px 112 downsamples nothing.
    """
    return resize_to_network(downsample(images_NHWC, px, degradation), side, degradation)


def embed_adapted(
    student, images_NHWC, adaptation: Adaptation, batch, device, label: str, *, flip=True, embed_fn=embed
) -> np.ndarray:
    """`embed_fn` (`embed` or `embed_sums`) under FaceBN; mode "full" first measures the statistics of all images in one pass."""
    mode, keep, order, include_bn1d = adaptation
    with FaceBN(student, keep, mode, include_bn1d) as bn:
        if mode == "full":
            with eval_mode(student), torch.inference_mode():
                inputs = network_inputs(images_NHWC, batch, order, device, flip, f"{label}, FaceBN statistics")
                bn.adapt(x_B3SS for _, x_B3SS in inputs)
        return embed_fn(student, images_NHWC, batch, order, device, flip, f"{label}, FaceBN {mode}")
