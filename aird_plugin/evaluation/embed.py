"""Faces -> embeddings as upstream takes them: face and mirrored face summed, then L2-normalised.

N = faces, B = faces of a batch, S = side of the network's input, D = embedding width.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from aird_plugin.data.lowres import FACE_SIDE, check_faces, to_input
from aird_plugin.models.load import load_teacher
from aird_plugin.progress import progress

# Faces at once where the batch decides nothing but the time. On a CPU the activations should stay in the cache: mfn at 112 px is
# twice as fast by 16 as by 96, native students lose a fifth by 16 or 256. More than GPU_BATCH make no GPU faster.
CPU_BATCH_112, CPU_BATCH, GPU_BATCH = 16, 64, 1024


def embed(
    model, faces_NHWC: np.ndarray, batch=96, order=None, device="cpu", flip=True, label="embed"
) -> np.ndarray:
    """L2-normalised e + e_flip of every face, float32 (N, D), in the order of `faces_NHWC`.

    model: an nn.Module (run in eval mode; its own modes come back afterwards), an object with
        `embed(faces) -> (N, D)` such as a Teacher, or the path of an .onnx file.
    faces_NHWC: uint8 RGB (N, S, S, 3), already of the network's `input_size`: an array, or `SeenFaces`.
    batch: at most so many faces at a time; a module gets both flips of a face in the same batch, hence twice
        as many inputs.
    order: the order in which faces enter batches, None for that of the array or a seed to shuffle them; it
        changes results only where batches do (FaceBN).
    device: where an nn.Module lies.
    flip: False leaves the mirrored face out.

    An embedding of length zero stays zero. Raises ValueError for faces of another shape, side or dtype, or a
    batch below 1.
    """
    sum_ND = embed_sums(model, faces_NHWC, batch, order, device, flip, label)
    return normalise(sum_ND).astype(np.float32)


def embed_sums(
    model, faces_NHWC: np.ndarray, batch=96, order=None, device="cpu", flip=True, label="embed"
) -> np.ndarray:
    """e + e_flip of every face before normalisation, float64 (N, D): the length of a row is a proxy of its quality.

    Takes and raises what `embed` does.
    """
    if isinstance(model, str | Path):
        model = load_teacher(model, device=device)
    if isinstance(model, nn.Module):
        blocks = _embed_module(model, faces_NHWC, batch, order, device, flip, label)
    else:
        blocks = _embed_object(model, faces_NHWC, batch, flip, label)
    sum_ND = None
    with full_precision():
        for rows, sum_BD in blocks:
            sum_ND = np.empty((len(faces_NHWC), sum_BD.shape[1])) if sum_ND is None else sum_ND
            sum_ND[rows] = sum_BD
    return sum_ND


def embed_frozen(model, faces_NHWC, device="cpu", flip=True, label="embed", how=embed) -> np.ndarray:
    """`how` (`embed` or `embed_sums`) in batches that suit the device: the largest that fit a GPU, the fastest on a CPU.

    For statistics that stand still, whose answers no batch changes. Takes and raises what `embed` does.
    """
    batch = frozen_batch(faces_NHWC, torch.device(device))
    while True:
        try:
            return how(model, faces_NHWC, batch, None, device, flip, label)
        except torch.OutOfMemoryError:
            if batch == 1:
                raise
        # Not in the except clause, which still holds what did not fit.
        torch.cuda.empty_cache()
        batch //= 2


def frozen_batch(faces_NHWC, device: torch.device) -> int:
    """How many faces `embed_frozen` tries first."""
    if device.type != "cpu":
        return min(GPU_BATCH, max(len(faces_NHWC), 1))
    return CPU_BATCH_112 if faces_NHWC.shape[1] == FACE_SIDE else CPU_BATCH


def normalise(embeddings_ND: np.ndarray) -> np.ndarray:
    """Rows divided by their length; a row of zeros stays."""
    length_N1 = np.linalg.norm(embeddings_ND, axis=1, keepdims=True)
    return embeddings_ND / np.where(length_N1 == 0, 1, length_N1)


def blocks_of_rows(count: int, batch: int, order=None) -> list[np.ndarray]:
    """Rows 0..count-1, in turn or shuffled by the seed `order`, in blocks of at most `batch`.

    The blocks are of nearly equal size, so that no small rest makes a batch whose statistics mean nothing.
    """
    if count < 1 or batch < 1:
        raise ValueError(f"need a face and a batch of one or more, got {count} faces and a batch of {batch}")
    rows = np.arange(count) if order is None else np.random.default_rng(order).permutation(count)
    return np.array_split(rows, math.ceil(count / batch))


def network_inputs(
    faces_NHWC: np.ndarray, batch: int, order=None, device="cpu", flip=True, label="embed"
) -> Iterator[tuple[np.ndarray, Tensor]]:
    """(rows, network input) of each batch: the faces and after them, with `flip`, the same faces mirrored."""
    blocks = blocks_of_rows(len(faces_NHWC), batch, order)
    for rows in progress(blocks, len(blocks), label, "batches"):
        x_B3SS = to_input(torch.from_numpy(faces_NHWC[rows]).to(device))
        x_B3SS = torch.cat([x_B3SS, x_B3SS.flip(3)]) if flip else x_B3SS
        yield rows, x_B3SS.contiguous(memory_format=torch.channels_last)


def _embed_module(model, faces_NHWC, batch, order, device, flip, label):
    check_faces(faces_NHWC)
    side = getattr(model, "input_size", faces_NHWC.shape[1])
    if faces_NHWC.shape[1] != side:
        raise ValueError(f"the network takes faces of {side} px, got {faces_NHWC.shape[1]} px: resize them")
    with eval_mode(model), torch.inference_mode():
        for rows, x_B3SS in network_inputs(faces_NHWC, batch, order, device, flip, label):
            e_BD = model(x_B3SS).double().cpu().numpy()
            yield rows, (e_BD[: len(rows)] + e_BD[len(rows) :] if flip else e_BD)


def _embed_object(model, faces_NHWC, batch, flip, label):
    check_faces(faces_NHWC)
    blocks = blocks_of_rows(len(faces_NHWC), batch)
    for rows in progress(blocks, len(blocks), label, "batches"):
        faces_BHWC = faces_NHWC[rows]
        e_BD = np.asarray(model.embed(faces_BHWC), dtype=np.float64)
        if flip:
            e_BD = e_BD + model.embed(np.ascontiguousarray(faces_BHWC[:, :, ::-1]))
        yield rows, e_BD


@contextmanager
def full_precision():
    """float32 on a GPU as on a CPU: cuDNN's convolutions would use TF32, with 10 bits of mantissa, and pairs change sides."""
    cudnn = torch.backends.cudnn
    before = cudnn.allow_tf32
    cudnn.allow_tf32 = False
    try:
        yield
    finally:
        cudnn.allow_tf32 = before


@contextmanager
def eval_mode(model: nn.Module):
    """eval(), undone flag by flag: a network may hold parts that were in eval mode on purpose."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
