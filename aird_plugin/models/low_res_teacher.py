"""A teacher that takes the image at `px`, as the student does, resized back: an assistant between HR teacher and student.

B = images, D = embedding width, S = 112.
"""

import hashlib
from typing import Any

import torch
from torch import Tensor

from aird_plugin.data.degradation import downsample_torch, resize_to_network_torch
from aird_plugin.data.lowres import to_input
from aird_plugin.models.teacher import Teacher
from aird_plugin.models.teacher_input import TeacherInput


class LowResTeacher(Teacher):
    """`hr_teacher` on images that are first downsampled to `px` and resized back to 112 px, both bicubic.

    Its embedding holds nothing that the LR image does not show, which a small student regresses more easily than the HR image's.
    It has no feature maps. Its digest is that of the file and the px: a bank of it is not one of the file.
    """

    kind = "low-res"

    def __init__(self, hr_teacher: Teacher, px: int):
        self.hr_teacher, self.px = hr_teacher, px
        self.path, self.network, self.dim = hr_teacher.path, hr_teacher.network, hr_teacher.dim
        self.device, self.input_device = hr_teacher.device, hr_teacher.input_device
        self.classifier = hr_teacher.classifier
        self.sha256 = hashlib.sha256(f"{hr_teacher.sha256} at {px} px".encode()).hexdigest()

    @property
    def input(self) -> TeacherInput:  # type: ignore[override]
        return self.hr_teacher.input

    @property
    def usual_input(self) -> TeacherInput:  # type: ignore[override]
        return self.hr_teacher.usual_input

    @property
    def on_hr(self) -> Teacher:
        """See `Teacher.on_hr`."""
        return self.hr_teacher

    def embed_inputs(self, inputs_B3SS: Tensor) -> Tensor:
        """See `Teacher.embed_inputs`; the inputs are those of whole grey levels."""
        images_BSSC = (inputs_B3SS * 127.5 + 127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()
        low_BSSC = resize_to_network_torch(downsample_torch(images_BSSC, self.px), self.input_size)
        return self.hr_teacher.embed_inputs(to_input(low_BSSC))

    def describe(self) -> dict:
        """The entries of the teacher, and the px."""
        return self.hr_teacher.describe() | {"px": self.px}

    def with_input(self, stated: TeacherInput) -> "LowResTeacher":
        """See `Teacher.with_input`."""
        return LowResTeacher(self.hr_teacher.with_input(stated), self.px)

    def __reduce__(self) -> tuple[Any, ...]:
        return LowResTeacher, (self.hr_teacher, self.px)
