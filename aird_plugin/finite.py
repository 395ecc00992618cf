"""Nothing moves on numbers that are not finite."""

import torch


class Watch:
    """Holds every weight still from the first step on whose loss or gradient is not finite.

    A fused optimizer takes `found_inf`, a number on the device, and moves nothing where it is 1, so no step has to wait for the
    device to say that all is well. patient: ask it only in `check`, which belongs before whatever is told or saved.
    """

    def __init__(self, device: torch.device, patient: bool):
        self.patient = patient
        self.found_inf = torch.zeros((), device=device)
        self.step = torch.zeros((), dtype=torch.int64, device=device)
        self.names: tuple[str, ...] = ()
        self.values: torch.Tensor | None = None

    def see(self, step: int, out: dict[str, torch.Tensor], norm: torch.Tensor | None) -> None:
        """Take in a step's terms and the norm of its gradient (None where a scaler judges that), before anything moves."""
        norm = torch.zeros_like(out["loss"]) if norm is None else norm
        self.names = tuple(out)
        values = torch.stack([*out.values(), norm]).detach().float()
        broken = self.found_inf > 0
        self.values = values if self.values is None else torch.where(broken, self.values, values)
        self.step = torch.where(broken, self.step, step)
        finite = torch.isfinite(out["loss"]) & torch.isfinite(norm)
        self.found_inf = torch.maximum(self.found_inf, 1 - finite.float())
        if not self.patient:
            self.check()

    def hold(self, optimizers: list[torch.optim.Optimizer]) -> None:
        """Let fused optimizers see it, as a GradScaler would."""
        for optimizer in optimizers:
            optimizer.found_inf = self.found_inf

    def check(self) -> None:
        """FloatingPointError naming the first step that was not finite, and every term of it."""
        if self.found_inf > 0:
            *terms, norm = self.values
            check_loss(dict(zip(self.names, terms, strict=True)), self.step.item())
            check_gradient(norm, self.step.item())


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
