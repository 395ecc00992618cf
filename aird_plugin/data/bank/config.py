"""Recipe keys of the bank, and the names of its folders."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aird_plugin.data.degradation import BICUBIC, get_degradation
from aird_plugin.data.device_array import PLACES
from aird_plugin.data.views import check_views


@dataclass(frozen=True)
class BankConfig:
    """Recipe keys of the bank and of the views it holds.

    bank: its folder. views: views per image, flip times jitter; 2 is the image and its mirror image. view_seed: seed of the
    jitter. bank_same, bank_hard: lengths of the lists of images of the same identity and of hard negatives. online: decode,
    downsample and run the teacher in every step instead (RID still takes its lists from the bank). bank_on: where the bank is
    held during training. "device": copied to the training device; "memory": mapped from disk; "auto": on a GPU if it takes at
    most half of the free memory, else "memory". The batches are the same.
    bank_searched: a set of more images searches hard negatives among so many random ones, a smaller set among all; a bank that
    has lists over all images is kept (docs/scale.md).
    bank_shard_images: a set of more images is stored in shards of so many, which several processes build at once
    (docs/scale.md); an existing bank keeps its shards. Multiples of 1,024 give the same bytes as one file.
    skip_bad: the largest share of the images that may be left out because they are unreadable; 0 stops at the first one.
    """

    bank: str = "runs/bank"
    views: int = 2
    view_seed: int = 0
    bank_same: int = 32
    bank_hard: int = 256
    online: bool = False
    bank_on: str = "auto"
    skip_bad: float = 0.0
    bank_shard_images: int = 1 << 20
    bank_searched: int = 1 << 23

    def __post_init__(self):
        check_views(self.views)
        if self.bank_on not in PLACES:
            raise ValueError(f"bank_on is one of {', '.join(PLACES)}; got {self.bank_on!r}")
        if not 0 <= self.skip_bad < 1:
            raise ValueError(f"skip_bad is a share of the images, from 0 to below 1; got {self.skip_bad!r}")
        if not self.bank:
            raise ValueError("bank names the folder of the bank, for example bank=runs/bank")
        if self.view_seed < 0:
            raise ValueError(f"view_seed must be 0 or more; got {self.view_seed!r}")
        for key in ("bank_same", "bank_hard", "bank_shard_images", "bank_searched"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key} must be 1 or more; got {getattr(self, key)!r}")

    @property
    def teacher_folder(self) -> Path:
        return Path(self.bank) / f"teacher-v{self.views}"

    def part_folder(self, inputs: dict[str, Any]) -> Path:
        """The folder of one teacher of an ensemble, named by its file, how it is fed and its px."""
        parts = [inputs["teacher"], inputs.get("teacher_input")] + ([inputs["teacher_px"]] if "teacher_px" in inputs else [])
        key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
        return Path(self.bank) / f"part-{key[:12]}-v{self.views}"

    def low_folder(self, px: int, degradation: str = BICUBIC) -> Path:
        suffix = "" if get_degradation(degradation).version == get_degradation(BICUBIC).version else f"-{degradation}"
        return Path(self.bank) / f"low{px}{suffix}-v{self.views}"
