"""Optimizer steps for a few rows of a large matrix: the sampled class centers of one step among millions.

N = rows of the matrix, R = rows that a step updates, D = width.
"""

import torch
from torch import nn


def sparse_row_steps(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """Let an optimizer update only the rows of its (N, D) parameters that their sparse gradients name; returns it.

    for each row that has a gradient:
        step the row and its own state (momentum, Adam's means) as the dense optimizer would
    the others keep their value and their state: no weight decay, no momentum

    The rows replace the parameter during the step, as in arcface_torch's first Partial FC (partial_fc.py, 2021), so that a
    step costs R rows of memory and time, not N. The state between steps, and in a checkpoint, is the dense optimizer's; its
    step count is that of the matrix, not of a row.
    """
    rows = _Rows()
    optimizer.register_step_pre_hook(rows.take)
    optimizer.register_step_post_hook(rows.put)
    return optimizer


class _Rows:
    """The rows of one step: (group, its full parameters, [(parameter, (index_R, rows_RD))])."""

    def __init__(self) -> None:
        self.taken: list[tuple[dict, list, list]] = []

    @torch.no_grad()
    def take(self, optimizer: torch.optim.Optimizer, args: tuple, kwargs: dict) -> None:
        """Before a step: put the rows with a gradient in the place of their matrices."""
        for group in optimizer.param_groups:
            whole = [weight_ND for weight_ND in group["params"] if weight_ND.grad is not None]
            rows = [_rows_of(weight_ND, optimizer.state) for weight_ND in whole]
            self.taken.append((group, group["params"], list(zip(whole, rows, strict=True))))
            group["params"] = [rows_RD for _, rows_RD in rows]

    @torch.no_grad()
    def put(self, optimizer: torch.optim.Optimizer, args: tuple, kwargs: dict) -> None:
        """After a step: copy the rows and their state back, and restore the matrices."""
        for group, params, taken in self.taken:
            group["params"] = params
            for weight_ND, (index_R, rows_RD) in taken:
                weight_ND.index_copy_(0, index_R, rows_RD)
                _put_state(optimizer.state, weight_ND, index_R, optimizer.state.pop(rows_RD, {}))
        self.taken = []


def _rows_of(weight_ND: nn.Parameter, state: dict) -> tuple[torch.Tensor, nn.Parameter]:
    """Indices of the rows with a gradient; the rows as a parameter of their own, with their gradient and state."""
    weight_ND.grad = weight_ND.grad.coalesce()
    index_R = weight_ND.grad.indices()[0]
    rows_RD = nn.Parameter(weight_ND[index_R])
    rows_RD.grad = weight_ND.grad.values()
    if weight_ND in state:
        state[rows_RD] = {name: value[index_R] if value.ndim else value for name, value in state[weight_ND].items()}
    return index_R, rows_RD


def _put_state(state: dict, weight_ND: nn.Parameter, index_R: torch.Tensor, rows_state: dict[str, torch.Tensor]) -> None:
    """Write the rows' state back into that of the matrix, which starts at 0. Tensors without rows are step counts."""
    for name, value in rows_state.items():
        if value.ndim == 0:
            state[weight_ND][name] = value
            continue
        if name not in state[weight_ND]:
            state[weight_ND][name] = torch.zeros_like(weight_ND)
        state[weight_ND][name].index_copy_(0, index_R, value)
