"""A hand-written teacher whose right input is known."""

from copy import copy
from pathlib import Path

import torch

from aird_plugin.data.lowres import to_input
from aird_plugin.models.teacher_input import USUAL, TeacherInput
from tests.diagnostics.test_teacher_input import CELL

RAW = TeacherInput(mean=0, std=1)


class RedNetwork:
    """Embeds the red pattern in the upper half of the center, and saturates outside the grey levels that it was made for."""

    path = Path("red.onnx")

    def __init__(self, right: TeacherInput = USUAL):
        self.right, self.input = right.over(USUAL), USUAL

    def with_input(self, stated):
        other = copy(self)
        other.input = stated.over(self.input)
        return other

    def embed(self, images_XHWC):
        fed_X3HW = self.input.apply(to_input(torch.from_numpy(images_XHWC)))
        red = 0 if self.right.color == "rgb" else 2
        red_XHW = (fed_X3HW[:, red] * self.right.std[red] + self.right.mean[red]).clamp(0, 255).numpy()
        cells = red_XHW[:, 24:56, 24:88].reshape(-1, 8, CELL, 16, CELL)[:, :, 1:3, :, 1:3].mean((2, 4))
        return cells.reshape(len(red_XHW), -1) / 127.5 - 1
