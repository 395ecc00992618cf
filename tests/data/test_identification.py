import io

import numpy as np
import pytest
from PIL import Image

from aird_plugin.data.constants import NO_IDENTITY
from aird_plugin.data.identification import (
    ImageFile,
    bin_identities,
    images_in,
    read_folders,
    read_scface,
    read_square,
    split_identities,
    with_distractors,
)
from aird_plugin.data.pairs import write_pairs


def png(color, size=(6, 6)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, color).save(file, "PNG")
    return file.getvalue()


def fill(root, *names):
    """Write images of one color each."""
    for n, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(png((n, 10, 20)))


def names(images, root):
    return [image.where.removeprefix(f"{root}/") for image in images]


def test_images_of_any_size_are_resized_to_squares(tmp_path):
    rng = np.random.default_rng(0)
    wide = Image.fromarray(rng.integers(0, 256, (9, 14, 3), np.uint8))
    wide.save(tmp_path / "wide.png")
    fits = Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8))
    fits.save(tmp_path / "fits.png")
    images = read_square(
        [ImageFile(str(tmp_path / "wide.png")), ImageFile("in memory", (tmp_path / "fits.png").read_bytes())], 16
    )
    assert images.shape == (2, 16, 16, 3) and images.dtype == np.uint8
    assert np.array_equal(images[0], np.asarray(wide.resize((16, 16), Image.Resampling.BICUBIC)))
    assert np.array_equal(images[1], np.asarray(fits))


def test_an_unreadable_image_is_named(tmp_path):
    (tmp_path / "cut.jpg").write_bytes(png((1, 2, 3))[:50])
    with pytest.raises(ValueError, match=r"cut\.jpg: .* no readable image"):
        read_square([ImageFile(str(tmp_path / "cut.jpg"))], 16)
    with pytest.raises(FileNotFoundError, match=r"gone\.jpg"):
        read_square([ImageFile(str(tmp_path / "gone.jpg"))], 16)


def test_folders_give_identities_non_mated_probes_tracks_and_distractors(tmp_path):
    fill(
        tmp_path,
        "gallery/bea/1.png",
        "gallery/bea/2.png",
        "gallery/al/1.png",
        "probe/zoe/1.png",
        "probe/bea/1.png",
        "probe/al/walk/1.png",
        "probe/al/walk/2.png",
        "probe/al/3.png",
        "probe/al/4.png",
        "distractor/x.png",
        "distractor/deep/y.png",
    )
    [dataset] = read_folders(tmp_path)
    assert names(dataset.gallery, tmp_path) == [
        "gallery/al/1.png",
        "gallery/bea/1.png",
        "gallery/bea/2.png",
        "distractor/deep/y.png",
        "distractor/x.png",
    ]
    assert dataset.gallery_labels.tolist() == [0, 1, 1, NO_IDENTITY, NO_IDENTITY]
    assert names(dataset.probes, tmp_path)[1:4] == ["probe/al/4.png", "probe/al/walk/1.png", "probe/al/walk/2.png"]
    assert dataset.probe_labels.tolist() == [0, 0, 0, 0, 1, 2]
    track = dataset.probe_track.tolist()
    assert track[2] == track[3] and len(set(track)) == 5


def test_missing_or_empty_folders_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gallery; this layout"):
        read_folders(tmp_path)
    (tmp_path / "gallery").mkdir()
    with pytest.raises(ValueError, match="one folder per identity"):
        read_folders(tmp_path)
    (tmp_path / "gallery" / "al").mkdir()
    with pytest.raises(ValueError, match=r"contains no folder with images.* folders without an image: 1 \(al\)"):
        read_folders(tmp_path)
    with pytest.raises(FileNotFoundError, match="no folder"):
        images_in(tmp_path / "nowhere")


def scface(root, crops="mugshot_frontal_cropped_all/{}.JPG"):
    fill(root, *(crops.format(f"{label:03d}_frontal") for label in (1, 2, 130)), "mugshot_frontal_cropped_all/readme.png")
    for distance in (1, 2, 3):
        camera = f"surveillance_cameras_distance_{distance}/cam_{{1}}/{{0}}_cam{{1}}_{distance}.jpg"
        fill(root, *(camera.format(f"{label:03d}", cam) for label in (2, 130) for cam in range(1, 8)))


def test_scface_has_one_set_per_distance(tmp_path):
    scface(tmp_path)
    datasets = read_scface(tmp_path)
    assert [dataset.name for dataset in datasets] == ["distance_1", "distance_2", "distance_3"]
    for dataset in datasets:
        assert dataset.gallery_labels.tolist() == [1, 2, 130]
        # Cameras 6 and 7 are infrared.
        assert sorted(dataset.probe_labels.tolist()) == [2] * 5 + [130] * 5
        assert all(f"_{dataset.name[-1]}.jpg" in image.where for image in dataset.probes)


def test_scface_reads_the_original_mugshots_and_reports_missing_ones(tmp_path):
    scface(tmp_path, "mugshot_frontal_original_all/{}.jpg")
    (tmp_path / "mugshot_frontal_cropped_all" / "readme.png").unlink()
    (tmp_path / "mugshot_frontal_cropped_all").rmdir()
    assert read_scface(tmp_path)[0].gallery_labels.tolist() == [1, 2, 130]
    fill(tmp_path / "other", "mugshot_frontal_cropped_all/me.jpg")
    with pytest.raises(ValueError, match="no image with a name like"):
        read_scface(tmp_path / "other")


@pytest.fixture
def pairs_bin(tmp_path):
    """a-b-c are one identity through b, d-e another; f, g and h are single images."""
    images = {name: png((n, 0, 0)) for n, name in enumerate("abcdefgh")}
    pairs = [("f", "a", 0), ("a", "b", 1), ("d", "e", 1), ("g", "h", 0), ("b", "c", 1), ("e", "d", 1)]
    write_pairs(tmp_path / "p.bin", [images[name] for a, b, _ in pairs for name in (a, b)], [same for *_, same in pairs])
    return tmp_path / "p.bin"


def colors(images):
    return ["abcdefgh"[read_square([image], 6)[0, 0, 0, 0]] for image in images]


def test_bin_identities_are_connected_components(pairs_bin):
    images, labels = bin_identities(pairs_bin)
    identities = {}
    for image, label in zip(colors(images), labels.tolist(), strict=True):
        identities.setdefault(label, []).append(image)
    assert sorted(map(sorted, identities.values())) == [["a", "b", "c"], ["d", "e"], ["f"], ["g"], ["h"]]


def test_the_gallery_holds_the_first_image_and_the_probes_the_others(pairs_bin):
    dataset = split_identities(*bin_identities(pairs_bin), distractors=False)
    assert colors(dataset.gallery) == ["a", "d"] and colors(dataset.probes) == ["b", "e", "c", "f", "g", "h"]
    mates = [label in dataset.gallery_labels for label in dataset.probe_labels.tolist()]
    assert mates == [True, True, True, False, False, False]
    assert dataset.probe_labels[0] == dataset.probe_labels[2] == dataset.gallery_labels[0] != dataset.probe_labels[1]


def test_identities_with_a_single_image_may_be_distractors(pairs_bin):
    dataset = split_identities(*bin_identities(pairs_bin), distractors=True)
    assert colors(dataset.gallery) == ["a", "d", "f", "g", "h"] and dataset.gallery_labels[2:].tolist() == [NO_IDENTITY] * 3
    assert colors(dataset.probes) == ["b", "e", "c"]


def test_a_bin_without_mated_images_is_rejected(tmp_path):
    write_pairs(tmp_path / "p.bin", [png((n, 0, 0)) for n in range(4)], [False, False])
    with pytest.raises(ValueError, match="no identity has two different images"):
        split_identities(*bin_identities(tmp_path / "p.bin"), distractors=False)


def test_distractors_have_no_identity(pairs_bin):
    dataset = split_identities(*bin_identities(pairs_bin), distractors=False)
    extended = with_distractors(dataset, [ImageFile("x"), ImageFile("y")])
    assert extended.gallery_labels[-2:].tolist() == [NO_IDENTITY] * 2
    assert len(extended.gallery) == len(extended.gallery_labels) == 4
    assert len(dataset.gallery) == 2
