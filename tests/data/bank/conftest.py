"""Images in memory instead of a record file."""

import io

import numpy as np
import pytest
from PIL import Image


class MemoryRecords:
    """Ten images in memory, of four identities."""

    path, num_classes = "memory", 4
    labels = np.repeat([0, 1, 2, 3], [3, 1, 4, 2])

    def __init__(self, images):
        self.images = images

    def __len__(self):
        return len(self.images)

    def payload(self, row):
        out = io.BytesIO()
        Image.fromarray(self.images[row]).save(out, "PNG")
        return out.getvalue()

    def fingerprint(self):
        return "records-1"


@pytest.fixture
def memory_records(noise_faces):
    """A function that returns records of ten noise images of a side."""
    return lambda side=112: MemoryRecords(noise_faces(10, side=side, seed=3))


@pytest.fixture
def records(memory_records):
    """Records of ten noise images of 112 px."""
    return memory_records()
