"""FaceBN: test-time adaptation of BatchNorm statistics, without labels (AIRD, equations 8 and 9).

C = channels of a BatchNorm layer. Statistics are computed over the images of a batch and, in convolutional layers, over all
positions.
"""

from collections.abc import Iterable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from aird_plugin.losses.precision import at_least_float32

# Best weight of the old statistics for each mode (docs/adapt.md): a batch is a small sample, a whole data set is not.
KEEP = {"stateless": 0.9, "stream": 0.9, "full": 0.1}
MODES = tuple(KEEP)


def mix_statistics(old_mean_C: Tensor, old_var_C: Tensor, mean_C: Tensor, var_C: Tensor, keep: float) -> tuple[Tensor, Tensor]:
    """Equation 9 of AIRD in its printed order: the variance is computed around the mixed mean.

    mean <- keep * old + (1 - keep) * mean(x)
    var  <- keep * old + (1 - keep) * mean((x - mean)^2), the latter being var(x) + (mean(x) - mean)^2

    keep: weight of the OLD statistics (the paper's gamma), 0..1; PyTorch's `momentum` is 1 - keep.
    mean_C, var_C: mean and biased variance of the new images.
    """
    mixed_mean_C = keep * old_mean_C + (1 - keep) * mean_C
    mixed_var_C = keep * old_var_C + (1 - keep) * (var_C + (mean_C - mixed_mean_C).square())
    return mixed_mean_C, mixed_var_C


def measure(x_BC: Tensor) -> tuple[Tensor, Tensor, int]:
    """Mean (C,), biased variance (C,) and number of values per channel of (B, C) or (B, C, H, W).

    Half precision is converted to float32.
    Raises ValueError for a single value per channel, which has no variance.
    """
    count = x_BC.numel() // x_BC.shape[1]
    if count < 2:
        raise ValueError(
            f"FaceBN got a BatchNorm input of shape {tuple(x_BC.shape)}: one value per channel has no "
            "variance; give two or more images in a batch (an image and its mirror image are enough)"
        )
    # Two means are as exact in float32 as torch.var_mean, which takes three times as long on a CPU.
    x_BC = at_least_float32(x_BC)
    axes = [axis for axis in range(x_BC.dim()) if axis != 1]
    mean_1C = x_BC.mean(axes, keepdim=True)
    var_C = (x_BC - mean_1C).square_().mean(axes)
    return mean_1C.flatten(), var_C, count


class FaceBN:
    """Context manager in which BatchNorm layers use a mix of the training statistics and the statistics of their inputs.

        with FaceBN(student):
            embeddings = student(images)

    keep: weight of the training statistics, 0..1. 1 gives the frozen network to the bit, 0 pure batch statistics. The paper
        prints 0.1. The default, 0.9, suits single batches and networks that were never trained on LR images; with "full", a
        student does better with 0.1 (`KEEP`).
    mode: "stateless": each batch is mixed with the training statistics, so an embedding depends only on its batch.
        "stream": each batch is mixed with the result of the previous one (the paper's in-place interpretation); the order of
        batches matters.
        "full": call `adapt(batches)` first, one pass over all unlabelled images. After it the statistics are fixed, stay in the
        network's buffers, and an embedding depends only on its image.
    include_bn1d: adapt BatchNorm1d too. On the embedding layer this nearly centers and whitens the embeddings.

    The batch is normalised with the mixed statistics. The network's train/eval flags are neither changed nor read: inside the
    context an adapted layer never runs PyTorch's training branch. On exit, also after an exception, statistics and layers are
    restored. Use separate batches for LR and HR images, and with "stream" and "full" separate contexts.

    Raises ValueError for another mode, `keep` outside 0..1, a network without BatchNorm to adapt, a layer without running
    statistics, and (in forward) a batch with one value per channel.
    """

    def __init__(self, model: nn.Module, keep: float = 0.9, mode: str = "stateless", include_bn1d: bool = False):
        if mode not in MODES:
            raise ValueError(f"FaceBN mode must be one of {', '.join(MODES)}, got {mode!r}")
        if not 0 <= keep <= 1:
            raise ValueError(f"keep, the weight of the old statistics, must be 0 to 1, got {keep!r}")
        self.model, self.keep, self.mode = model, keep, mode
        self.layers = _find_layers(model, include_bn1d)
        self._saved: list[tuple[Tensor, Tensor]] | None = None
        self._moments: list[_Moments] | None = None
        self._adapted = False

    def __enter__(self) -> "FaceBN":
        if any("forward" in vars(layer) for layer in self.layers):
            raise ValueError("a BatchNorm layer has its own forward: is another FaceBN active?")
        self._saved = [(layer.running_mean.clone(), layer.running_var.clone()) for layer in self.layers]
        self._adapted = False
        for index, layer in enumerate(self.layers):
            layer.forward = partial(self._forward, index)
        return self

    def __exit__(self, *exception) -> None:
        for layer in self.layers:
            del layer.forward
        self._restore()
        self._saved = None

    @torch.no_grad()
    def adapt(self, batches: Iterable[Tensor]) -> None:
        """Mode "full": compute the statistics of a whole unlabelled set in one pass, mix them once, and freeze them.

        batches: network inputs (B, 3, S, S), float, on the network's device. A second call starts again from the training
        statistics.

        A layer's mean and variance are pooled exactly over all batches of any size. During the pass each batch is normalised as
        in "stateless", so the inputs of deeper layers nearly equal those after adaptation; with one batch the result equals
        "stateless" to the bit. Exact equality over many batches would need one pass per layer.

        Raises ValueError in another mode, outside the context, or without any batch.
        """
        if self.mode != "full":
            raise ValueError(f"adapt() needs mode 'full'; mode {self.mode!r} adapts in each forward pass")
        if self._saved is None:
            raise ValueError("call adapt() inside the context: `with FaceBN(model, mode='full') as bn:`")
        self._restore()
        self._adapted, self._moments = False, [_Moments() for _ in self.layers]
        try:
            for x_B3SS in batches:
                self.model(x_B3SS)
            if not any(moments.count for moments in self._moments):
                raise ValueError("adapt() got no batch of images, or the forward pass uses no BatchNorm layer")
            for layer, saved, moments in zip(self.layers, self._saved, self._moments, strict=True):
                if moments.count:
                    _write(layer, mix_statistics(*saved, *moments.result(layer.running_mean), self.keep))
            self._adapted = True
        finally:
            self._moments = None

    def _forward(self, index: int, x_BC: Tensor) -> Tensor:
        layer = self.layers[index]
        mean_C, var_C = layer.running_mean, layer.running_var
        if self.mode == "full" and self._moments is None:
            if not self._adapted:
                raise ValueError("FaceBN in mode 'full' has no statistics yet: call adapt(batches) first")
        else:
            with torch.no_grad():
                mean_C, var_C = self._mixed(index, layer, x_BC)
        return F.batch_norm(x_BC, mean_C, var_C, layer.weight, layer.bias, False, 0.0, layer.eps)

    def _mixed(self, index: int, layer: nn.Module, x_BC: Tensor) -> tuple[Tensor, Tensor]:
        batch_mean_C, batch_var_C, count = measure(x_BC)
        if self._moments is not None:
            self._moments[index].add(batch_mean_C, batch_var_C, count)
        mixed = mix_statistics(layer.running_mean, layer.running_var, batch_mean_C, batch_var_C, self.keep)
        if self.mode == "stream":
            _write(layer, mixed)
        mean_C, var_C = mixed
        return mean_C.to(layer.running_mean.dtype), var_C.to(layer.running_mean.dtype)

    @torch.no_grad()
    def _restore(self) -> None:
        for layer, saved in zip(self.layers, self._saved, strict=True):
            _write(layer, saved)


class _Moments:
    """Mean and biased variance pooled over batches of any size (Chan, Golub, LeVeque 1979), in float64."""

    def __init__(self):
        self.count, self.mean_C, self.squares_C = 0, 0.0, 0.0

    def add(self, mean_C: Tensor, var_C: Tensor, count: int) -> None:
        """Pool a batch of `count` values per channel with the earlier ones."""
        mean_C, total = mean_C.double(), self.count + count
        delta_C = mean_C - self.mean_C
        self.mean_C = self.mean_C + delta_C * (count / total)
        between_C = delta_C.square() * (self.count * count / total)
        self.squares_C = self.squares_C + var_C.double() * count + between_C
        self.count = total

    def result(self, like_C: Tensor) -> tuple[Tensor, Tensor]:
        return self.mean_C.to(like_C), (self.squares_C / self.count).to(like_C)


def _write(layer: nn.Module, statistics: tuple[Tensor, Tensor]) -> None:
    layer.running_mean.copy_(statistics[0])
    layer.running_var.copy_(statistics[1])


def _find_layers(model: nn.Module, include_bn1d: bool) -> list[nn.Module]:
    kinds = (nn.BatchNorm2d, nn.BatchNorm1d) if include_bn1d else (nn.BatchNorm2d,)
    layers: list[nn.Module] = [module for module in model.modules() if isinstance(module, kinds)]
    if not layers:
        has_bn1d = any(isinstance(module, nn.BatchNorm1d) for module in model.modules())
        hint = "only BatchNorm1d: pass include_bn1d=True" if has_bn1d else "no BatchNorm layer"
        raise ValueError(f"FaceBN has no layer to adapt: the network {type(model).__name__} has {hint}")
    if any(layer.running_mean is None for layer in layers):
        raise ValueError("FaceBN needs running statistics, but a BatchNorm layer has track_running_stats=False")
    return layers
