"""Images -> embeddings as in upstream's evaluation: the sum over image and mirrored image, L2-normalised.

N = images, B = images of a batch, S = side of the network's input, D = embedding width.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from aird_plugin.data.constants import FACE_SIDE
from aird_plugin.data.lowres import check_faces, to_input
from aird_plugin.models.load import load_teacher
from aird_plugin.utils.progress import progress
from aird_plugin.utils.vectors import normalise

# Images per batch where the batch affects the time alone. On a CPU the activations should stay in the cache: mfn at 112 px is
# twice as fast with 16 as with 96, native students lose a fifth with 16 or 256. More than GPU_BATCH make no GPU faster.
CPU_BATCH_112, CPU_BATCH, GPU_BATCH = 16, 64, 1024


def embed(model, images_NHWC: np.ndarray, batch=96, order=None, device="cpu", flip=True, label="embed") -> np.ndarray:
    """L2-normalised e + e_flip of every image, float32 (N, D), in the order of `images_NHWC`.

    model: an nn.Module (run in eval mode; its modes are restored), an object with `embed(images) -> (N, D)` such as a
        Teacher, or the path of an .onnx file.
    images_NHWC: uint8 RGB (N, S, S, 3), at the network's `input_size`: an array, or `DegradedFaces`.
    batch: the most images per batch; a module gets both flips of an image in the same batch, hence twice as many inputs.
    order: the order in which images enter the batches, None for that of the array or a seed to shuffle them; it changes
        results only where the batch does (FaceBN).
    device: the device of an nn.Module.
    flip: False leaves the mirrored image out.
    label: the name of the progress bar.

    An embedding of length zero stays zero. Raises ValueError for images of another shape, side or dtype, or a batch below 1.
    """
    sum_ND = embed_sums(model, images_NHWC, batch, order, device, flip, label)
    return normalise(sum_ND).astype(np.float32)


def embed_sums(model, images_NHWC: np.ndarray, batch=96, order=None, device="cpu", flip=True, label="embed") -> np.ndarray:
    """e + e_flip of every image before normalisation, float64 (N, D); the length of a row is a proxy of image quality.

    Takes and raises what `embed` does.
    """
    if isinstance(model, str | Path):
        model = load_teacher(model, device=device)
    if isinstance(model, nn.Module):
        blocks = _embed_module(model, images_NHWC, batch, order, device, flip, label)
    else:
        blocks = _embed_object(model, images_NHWC, batch, flip, label)
    sum_ND: Any = None
    with full_precision():
        for rows, sum_BD in blocks:
            sum_ND = np.empty((len(images_NHWC), sum_BD.shape[1])) if sum_ND is None else sum_ND
            sum_ND[rows] = sum_BD
    return sum_ND


def embed_frozen(model, images_NHWC, device="cpu", *, flip=True, label="embed", embed_fn=embed) -> np.ndarray:
    """`embed_fn` (`embed` or `embed_sums`) in batches that suit the device: the largest that fit a GPU, the fastest on a CPU.

    For frozen statistics, where no result depends on the batch. Takes and raises what `embed` does.
    """
    batch = frozen_batch(images_NHWC, torch.device(device))
    while True:
        try:
            return embed_fn(model, images_NHWC, batch, None, device, flip, label)
        except torch.OutOfMemoryError:
            if batch == 1:
                raise
        # Outside the except clause, which still holds the tensors that did not fit.
        torch.cuda.empty_cache()
        batch //= 2


def frozen_batch(images_NHWC, device: torch.device) -> int:
    """The batch that `embed_frozen` tries first."""
    if device.type != "cpu":
        return min(GPU_BATCH, max(len(images_NHWC), 1))
    return CPU_BATCH_112 if images_NHWC.shape[1] == FACE_SIDE else CPU_BATCH


def blocks_of_rows(count: int, batch: int, order=None) -> list[np.ndarray]:
    """Rows 0..count-1, in order or shuffled by the seed `order`, in blocks of at most `batch`.

    The blocks are of nearly equal size: a small last batch would have meaningless statistics.
    """
    if count < 1 or batch < 1:
        raise ValueError(f"images and batch must be 1 or more, got {count} images and a batch of {batch}")
    rows = np.arange(count) if order is None else np.random.default_rng(order).permutation(count)
    return np.array_split(rows, math.ceil(count / batch))


def network_inputs(
    images_NHWC: np.ndarray, batch: int, order=None, device="cpu", flip=True, label="embed"
) -> Iterator[tuple[np.ndarray, Tensor]]:
    """(rows, network input) of each batch: the images, followed with `flip` by the same images mirrored."""
    blocks = blocks_of_rows(len(images_NHWC), batch, order)
    for rows in progress(blocks, len(blocks), label, "batches"):
        x_B3SS = to_input(torch.from_numpy(images_NHWC[rows]).to(device))
        x_B3SS = torch.cat([x_B3SS, x_B3SS.flip(3)]) if flip else x_B3SS
        yield rows, x_B3SS.contiguous(memory_format=torch.channels_last)


def _embed_module(model, images_NHWC, batch, order, device, flip, label):
    """Yield (rows, embeddings_BD) of a torch network, batch by batch; with flip, e + e_flip."""
    check_faces(images_NHWC)
    side = getattr(model, "input_size", images_NHWC.shape[1])
    if images_NHWC.shape[1] != side:
        remedy = f"low_faces(faces, {side}, grow=False) makes them" if side < FACE_SIDE else "resize them"
        raise ValueError(f"the network takes images of {side} px, got {images_NHWC.shape[1]} px: {remedy}")
    with eval_mode(model), torch.inference_mode():
        for rows, x_B3SS in network_inputs(images_NHWC, batch, order, device, flip, label):
            e_BD = model(x_B3SS).double().cpu().numpy()
            yield rows, (e_BD[: len(rows)] + e_BD[len(rows) :] if flip else e_BD)


def _embed_object(model, images_NHWC, batch, flip, label):
    """As `_embed_module`, for an object with an `embed` method, such as a teacher."""
    check_faces(images_NHWC)
    blocks = blocks_of_rows(len(images_NHWC), batch)
    for rows in progress(blocks, len(blocks), label, "batches"):
        images_BHWC = images_NHWC[rows]
        e_BD = np.asarray(model.embed(images_BHWC), dtype=np.float64)
        if flip:
            e_BD = e_BD + model.embed(np.ascontiguousarray(images_BHWC[:, :, ::-1]))
        yield rows, e_BD


@contextmanager
def full_precision():
    """Full float32 on a GPU: in TF32, with 10 bits of mantissa, cuDNN's convolutions would change the decision on some pairs."""
    cudnn = torch.backends.cudnn
    before = cudnn.allow_tf32
    cudnn.allow_tf32 = False
    try:
        yield
    finally:
        cudnn.allow_tf32 = before


@contextmanager
def eval_mode(model: nn.Module):
    """eval() with each module's mode restored: some modules may be in eval mode on purpose."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
