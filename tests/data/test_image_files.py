"""Every walk over a folder of images leaves out the same files, and names them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aird_plugin.alignment.photos import photos_in
from aird_plugin.data.folder_records import FolderRecords
from aird_plugin.data.identification import images_in, read_folders
from aird_plugin.data.image_files import Accounting, find_identities, find_images
from aird_plugin.data.records import decode_face
from aird_plugin.data.unlabelled_faces import read_faces

SYSTEM = (
    ".ipynb_checkpoints/ann-checkpoint.jpg",
    "@eaDir/ann.jpg",
    "ann/@eaDir/1.jpg",
    "ann/.thumbnails/1.png",
    "#recycle/old.jpg",
    "__MACOSX/ann/1.jpg",
    "$RECYCLE.BIN/1.jpg",
    "ann/._1.jpg",
)


def write(folder: Path, *names: str) -> Path:
    """Different 112 px images of the format of each name; empty files for names of other formats."""
    kinds = {
        ".jpeg": "JPEG",
        ".jfif": "JPEG",
        ".jpe": "JPEG",
        ".jpg": "JPEG",
        ".pgm": "PPM",
        ".pbm": "PPM",
        ".pnm": "PPM",
        ".tif": "TIFF",
    }
    for number, name in enumerate(names):
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        suffix = file.suffix.lower()
        pixels = np.random.default_rng(number).integers(0, 256, (112, 112, 3), np.uint8)
        if suffix in (*kinds, ".png", ".bmp", ".webp", ".ppm", ".gif", ".tiff"):
            image = Image.fromarray(pixels)
            image = image.convert({".pgm": "L", ".pbm": "1"}.get(suffix, "RGB"))
            image.save(file, kinds.get(suffix, suffix[1:].upper()))
        else:
            file.touch()
    return folder


def names_of(folder: Path) -> set[str]:
    """What training reads, as names of identities and files."""
    records = FolderRecords(folder)
    return {str(file.relative_to(folder)) for file in records.files}


def identified(folder: Path) -> set[str]:
    return {str(Path(image.where).relative_to(folder)) for image in images_in(folder)[0]}


WALKS = {
    "train": names_of,
    "make_rec": lambda folder: {str(file.relative_to(folder)) for _, files in find_identities(folder)[0] for file in files},
    "identify": identified,
    "align": lambda folder: set(photos_in(folder)[0]),
    "adapt": lambda folder: {str(file.relative_to(folder)) for file in find_images(folder)[0]},
}


@pytest.mark.parametrize("walk", WALKS.values(), ids=WALKS)
def test_no_walk_takes_hidden_or_system_files(walk, tmp_path):
    write(tmp_path, "ann/1.jpg", "ann/2.jpg", "bob/1.jpg", *SYSTEM, "ann/.DS_Store", "Thumbs.db", "labels.txt", "align.csv")
    assert walk(tmp_path) == {"ann/1.jpg", "ann/2.jpg", "bob/1.jpg"}


def test_copies_in_hidden_folders_are_no_identities(tmp_path):
    """Twelve identities became fifteen, the copies under a second label."""
    write(tmp_path, *(f"{label}/{n}.jpg" for label in range(12) for n in range(2)), *SYSTEM[:2], "__MACOSX/0/1.jpg")
    records = FolderRecords(tmp_path)
    assert records.num_classes == 12 and len(records) == 24


def test_identify_has_no_identity_or_probe_of_a_system_folder(tmp_path):
    write(
        tmp_path, "gallery/ann/1.jpg", "gallery/bob/1.jpg", "gallery/@eaDir/1.jpg", "probe/ann/2.jpg", "probe/.thumbnails/2.jpg"
    )
    write(
        tmp_path, "probe/ann/walk/3.jpg", "probe/ann/run/4.jpg", "distractor/1.jpg", "distractor/.cache/1.jpg", "probe/loose.png"
    )
    (tmp_path / "gallery" / "nobody").mkdir()
    [found] = read_folders(tmp_path)
    assert len(found.gallery) == 3 and found.gallery_labels.tolist() == [0, 1, -1] and len(found.probes) == 3
    lines = [walk.line() for walk in found.walks]
    assert lines == [
        f"{tmp_path}/gallery: 2 images taken; left out: hidden or system folders with images: 1 (@eaDir); "
        "folders without an image: 1 (nobody)",
        f"{tmp_path}/probe: 3 images taken; left out: hidden or system folders with images: 1 (.thumbnails); "
        "images beside the identities' folders: 1 (loose.png)",
        f"{tmp_path}/distractor: 1 image taken; left out: hidden or system folders with images: 1 (.cache)",
    ]


def test_a_clean_folder_has_no_line(tmp_path):
    write(tmp_path, "ann/1.jpg", "bob/1.jpg", "labels.txt", "align.csv", "align.json", "README.md", "property", "ann/.DS_Store")
    (tmp_path / ".git").mkdir()
    assert FolderRecords(tmp_path).left_out.line() is None and find_images(tmp_path)[1].line() is None


def test_the_line_names_each_reason_and_the_first_names(tmp_path):
    write(tmp_path, "ann/1.jpg", *SYSTEM, *(f"ann/{n}.heic" for n in range(5)), "carl/a/1.jpg", "carl/b/1.jpg")
    (tmp_path / "dora").mkdir()
    (tmp_path / "ann" / "link.jpg").symlink_to(tmp_path / "nowhere.jpg")
    assert FolderRecords(tmp_path).left_out.line() == (
        f"{tmp_path}: 1 image taken; left out: "
        "hidden or system folders with images: 7 (#recycle, $RECYCLE.BIN, .ipynb_checkpoints, ...); "
        "hidden or system files: 1 (ann/._1.jpg); "
        "files of a format that is not read: 5 (ann/0.heic, ann/1.heic, ann/2.heic, ...); links to nothing: 1 (ann/link.jpg); "
        "images in several folders below one without images, so that their identities are ambiguous: "
        "2 (carl/a/1.jpg, carl/b/1.jpg); folders without an image: 1 (dora)"
    )


def test_all_formats_are_read(tmp_path):
    """Three of four identities were gone: TIFF, PPM, PGM, GIF and JPEG under its other names."""
    kinds = "jpg jpeg jpe jfif png bmp webp tif tiff ppm pgm pbm pnm gif JPG TIF".split()
    write(tmp_path, *(f"{kind}_{n}/1.{kind}" for n, kind in enumerate(kinds)))
    records = FolderRecords(tmp_path)
    assert len(records) == records.num_classes == len(kinds)
    for row in range(len(records)):
        pixels = np.asarray(Image.open(records.files[row]).convert("RGB"), np.int16)
        assert np.abs(decode_face(records, row) - pixels).max() <= 1, records.files[row]
    assert len(read_faces(str(tmp_path)).images_NHWC) == len(kinds)


def test_images_below_an_identity_are_its_own_where_that_is_certain(tmp_path):
    write(
        tmp_path, "ann/1.jpg", "ann/2019/2.jpg", "bob/session/1.jpg", "bob/session/2.jpg", "train/carl/1.jpg", "train/dora/1.jpg"
    )
    records = FolderRecords(tmp_path)
    assert records.names == ["ann", "bob"] and records.labels.tolist() == [0, 0, 1, 1]
    assert "2 (train/carl/1.jpg, train/dora/1.jpg)" in records.left_out.line()


def test_a_folder_of_deeper_images_only_says_where_they_are(tmp_path):
    write(tmp_path, "train/carl/1.jpg", "train/dora/1.jpg")
    with pytest.raises(ValueError, match=r"identities are ambiguous: 2 \(train/carl/1.jpg, train/dora/1.jpg\)"):
        FolderRecords(tmp_path)


def test_linked_identities_are_read_and_linked_folders_below_are_named(tmp_path):
    write(tmp_path, "real/bob/1.jpg", "faces/ann/1.jpg")
    (tmp_path / "faces" / "bob").symlink_to(tmp_path / "real" / "bob")
    (tmp_path / "faces" / "ann" / "back").symlink_to(tmp_path / "faces")
    records = FolderRecords(tmp_path / "faces")
    assert records.names == ["ann", "bob"]
    assert records.left_out.line().endswith("left out: linked folders, not followed: 1 (ann/back)")


def test_a_hidden_folder_that_is_named_itself_is_data(tmp_path):
    write(tmp_path / ".cache", "ann/1.jpg")
    assert len(FolderRecords(tmp_path / ".cache")) == 1


def test_accounting_without_anything_left_out_has_no_line():
    found = Accounting(Path("faces"), 3)
    found.leave_out("unreadable images")
    assert found.line() is None
