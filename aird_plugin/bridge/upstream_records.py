"""The training set as arcface_torch's own reader can take it.

That reader opens FOLDER/train.rec with FOLDER/train.idx, takes any array label at key 0 for a header and any key 0 for no image,
fails on array labels with current torch, and reads everything else as a folder of images.
"""

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader

from aird_plugin.data.joined_records import JoinedRecords
from aird_plugin.data.list_records import ListRecords
from aird_plugin.data.recordio import format as form
from aird_plugin.data.recordio.face_records import FaceRecords
from aird_plugin.data.records import Records


def folder_for_upstream(records: Records, stack: ExitStack) -> str:
    """The folder to hand to upstream. Of a .rec with another name or without an .idx: a link to it and an index, until the stack
    closes. Raises ValueError for several training sets."""
    if isinstance(records, JoinedRecords | ListRecords):
        raise ValueError(f"{records.path}: arcface_torch's own reader opens one .rec or folder; set reader='bank'")
    if not isinstance(records, FaceRecords):
        return str(records.path)
    path = records.path
    if path.name == "train.rec" and path.with_suffix(".idx").is_file():
        return str(path.parent)
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="aird_records_")))
    (folder / "train.rec").symlink_to(path.resolve())
    keys, offsets = records.reader.index()
    lines = (f"{key}\t{offset}\n" for key, offset in zip(keys.tolist(), offsets.tolist(), strict=True))
    (folder / "train.idx").write_text("".join(lines))
    return str(folder)


def rows_as_keys(records: FaceRecords):
    """Wrapper for mxnet's MXIndexedRecordIO, the real one or ours: keys 1..N are the rows of `records`, with one label each."""

    def make(original: type) -> type:
        class RowsAsKeys(original):
            """Key 0 is a record without an array label, for which upstream takes its images from `keys`."""

            @property
            def keys(self) -> list[int]:
                return list(range(1, len(records) + 1))

            @keys.setter
            def keys(self, value: Any) -> None:
                """Ignore the keys of the file, which mxnet's own class sets."""

            def read_idx(self, idx) -> bytes:
                if idx == 0:
                    return form.pack(0.0, b"", 0, 0)
                record = form.unpack(super().read_idx(int(records.keys[idx - 1])))
                return form.pack(float(records.labels[idx - 1]), record.payload, record.id, record.id2)

        return RowsAsKeys

    return make


def check_same_images(loader: Any, records: Records) -> None:
    """Raise ValueError where upstream's data set (DALI has none) differs from the training set in images or labels."""
    if not isinstance(loader, DataLoader):
        return
    dataset: Any = loader.dataset
    remedy = "set reader='bank', or make a .rec of the images with tools/make_rec.py"
    if len(dataset) != len(records):
        raise ValueError(
            f"arcface_torch's own reader finds {len(dataset):,} images in {records.path}, which holds {len(records):,}; {remedy}"
        )
    targets = getattr(dataset, "targets", None)
    if targets is not None and list(targets) != records.labels.tolist():
        raise ValueError(f"arcface_torch's own reader gives the images of {records.path} other labels; {remedy}")
