"""Compare a loss with the loop that its docstring states."""

import torch


def assert_equals_loop(fast: torch.Tensor, slow: torch.Tensor, leaves) -> None:
    """The value and the gradients of one leaf or several, none of which is zero."""
    torch.testing.assert_close(fast, slow)
    for of_fast, of_slow in zip(*(torch.autograd.grad(loss, leaves) for loss in (fast, slow)), strict=True):
        torch.testing.assert_close(of_fast, of_slow)
        assert of_fast.abs().sum() > 0
