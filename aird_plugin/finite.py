"""Nothing moves on numbers that are not finite."""

import torch


def check_loss(out: dict[str, torch.Tensor], step: int) -> None:
    """FloatingPointError naming every term where the loss is not finite, before anything moves."""
    if not torch.isfinite(out["loss"]):
        terms = ", ".join(f"{name}={value.item():.6g}" for name, value in out.items())
        raise FloatingPointError(
            f"step {step}: the loss is not finite: {terms}. Nothing was updated; "
            "lower lr, raise warmup_epoch, or look at the data"
        )


def check_gradient(norm: torch.Tensor, step: int) -> None:
    """FloatingPointError where the norm of the student's gradient is not finite."""
    if not torch.isfinite(norm):
        raise FloatingPointError(f"step {step}: the student's gradient is not finite ({norm.item()}); nothing was updated")
