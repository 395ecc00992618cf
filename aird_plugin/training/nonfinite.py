"""Guard against nonfinite losses and gradients."""

from typing import Any

import torch


class NonFiniteGuard:
    """Finds the first step whose loss or gradient is not finite: it updates no weight, and no later step is logged or saved.

    A fused optimizer takes `found_inf`, a scalar on the device, and updates nothing where it is 1: from that step on every weight
    is frozen, without a step that waits for the device. A GradScaler (fp16 on CUDA) passes its own in its place: it skips that
    step alone, and later finite ones update weights until the error. patient: read `found_inf` only in `raise_if_nonfinite`,
    which runs before anything is logged or saved.
    """

    def __init__(self, device: torch.device, patient: bool):
        self.patient = patient
        self.found_inf = torch.zeros((), device=device)
        self.step = torch.zeros((), dtype=torch.int64, device=device)
        self.names: tuple[str, ...] = ()
        self.values: torch.Tensor | None = None

    def update(self, step: int, out: dict[str, torch.Tensor], norm: torch.Tensor | None) -> None:
        """Record a step's terms and its gradient norm (None where a loss scaler checks it), before any weight changes."""
        norm = torch.zeros_like(out["loss"]) if norm is None else norm
        self.names = tuple(out)
        values = torch.stack([*out.values(), norm]).detach().float()
        broken = self.found_inf > 0
        self.values = values if self.values is None else torch.where(broken, self.values, values)
        self.step = torch.where(broken, self.step, step)
        finite = torch.isfinite(out["loss"]) & torch.isfinite(norm)
        self.found_inf = torch.maximum(self.found_inf, 1 - finite.float())
        if not self.patient:
            self.raise_if_nonfinite()

    def attach(self, optimizers: list[torch.optim.Optimizer]) -> None:
        """Pass `found_inf` to fused optimizers, as a GradScaler would."""
        optimizer: Any  # torch declares no `found_inf`
        for optimizer in optimizers:
            optimizer.found_inf = self.found_inf

    def raise_if_nonfinite(self) -> None:
        """FloatingPointError naming the first step that was not finite, and every term of it."""
        if self.found_inf > 0:
            assert self.values is not None
            *terms, norm = self.values
            check_loss(dict(zip(self.names, terms, strict=True)), self.step.item())
            check_gradient(norm, self.step.item())


def check_loss(out: dict[str, torch.Tensor], step: int) -> None:
    """Raise FloatingPointError naming every term if the loss is not finite. That step must have updated no weight."""
    if not torch.isfinite(out["loss"]):
        terms = ", ".join(f"{name}={value.item():.6g}" for name, value in out.items())
        raise FloatingPointError(
            f"step {step}: the loss is not finite: {terms}. This step updated no weight; "
            "lower lr, raise warmup_epoch, or inspect the data"
        )


def check_gradient(norm: torch.Tensor, step: int) -> None:
    """Raise FloatingPointError if the norm of the student's gradient is not finite."""
    if not torch.isfinite(norm):
        raise FloatingPointError(
            f"step {step}: the student's gradient is not finite ({norm.item()}); this step updated no weight"
        )
