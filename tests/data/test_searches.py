import io

import numpy as np
import pytest
from PIL import Image

from aird_plugin.data.pairs import write_pairs
from aird_plugin.data.searches import (
    NOBODY,
    Picture,
    bin_people,
    pictures_in,
    read_folders,
    read_scface,
    read_square,
    split_people,
    with_distractors,
)


def png(colour, size=(6, 6)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "PNG")
    return file.getvalue()


def fill(root, *names):
    """Pictures of one colour each."""
    for n, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(png((n, 10, 20)))


def names(pictures, root):
    return [picture.where.removeprefix(f"{root}/") for picture in pictures]


def test_pictures_of_any_size_become_squares_by_the_one_resize(tmp_path):
    rng = np.random.default_rng(0)
    wide = Image.fromarray(rng.integers(0, 256, (9, 14, 3), np.uint8))
    wide.save(tmp_path / "wide.png")
    fits = Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8))
    fits.save(tmp_path / "fits.png")
    faces = read_square([Picture(str(tmp_path / "wide.png")), Picture("in memory", (tmp_path / "fits.png").read_bytes())], 16)
    assert faces.shape == (2, 16, 16, 3) and faces.dtype == np.uint8
    assert np.array_equal(faces[0], np.asarray(wide.resize((16, 16), Image.Resampling.BICUBIC)))
    assert np.array_equal(faces[1], np.asarray(fits))


def test_a_picture_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "cut.jpg").write_bytes(png((1, 2, 3))[:50])
    with pytest.raises(ValueError, match=r"cut\.jpg: .* no readable image"):
        read_square([Picture(str(tmp_path / "cut.jpg"))], 16)
    with pytest.raises(FileNotFoundError, match=r"gone\.jpg"):
        read_square([Picture(str(tmp_path / "gone.jpg"))], 16)


def test_folders_give_people_strangers_tracks_and_distractors(tmp_path):
    fill(
        tmp_path, "gallery/bea/1.png", "gallery/bea/2.png", "gallery/al/1.png", "probe/zoe/1.png", "probe/bea/1.png",
        "probe/al/walk/1.png", "probe/al/walk/2.png", "probe/al/3.png", "probe/al/4.png",
        "distractor/x.png", "distractor/deep/y.png",
    )  # fmt: skip
    [search] = read_folders(tmp_path)
    assert names(search.gallery, tmp_path) == [
        "gallery/al/1.png", "gallery/bea/1.png", "gallery/bea/2.png", "distractor/deep/y.png", "distractor/x.png",
    ]  # fmt: skip
    assert search.gallery_who.tolist() == [0, 1, 1, NOBODY, NOBODY]
    assert names(search.probes, tmp_path)[1:4] == ["probe/al/4.png", "probe/al/walk/1.png", "probe/al/walk/2.png"]
    assert search.probe_who.tolist() == [0, 0, 0, 0, 1, 2]
    track = search.probe_track.tolist()
    assert track[2] == track[3] and len(set(track)) == 5


def test_folders_that_are_missing_or_empty_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gallery; this layout"):
        read_folders(tmp_path)
    (tmp_path / "gallery").mkdir()
    with pytest.raises(ValueError, match="one folder a person"):
        read_folders(tmp_path)
    (tmp_path / "gallery" / "al").mkdir()
    with pytest.raises(ValueError, match="al holds no picture"):
        read_folders(tmp_path)
    with pytest.raises(FileNotFoundError, match="no folder"):
        pictures_in(tmp_path / "nowhere")


def scface(root, crops="mugshot_frontal_cropped_all/{}.JPG"):
    fill(root, *(crops.format(f"{person:03d}_frontal") for person in (1, 2, 130)), "mugshot_frontal_cropped_all/readme.png")
    for distance in (1, 2, 3):
        camera = f"surveillance_cameras_distance_{distance}/cam_{{1}}/{{0}}_cam{{1}}_{distance}.jpg"
        fill(root, *(camera.format(f"{person:03d}", cam) for person in (2, 130) for cam in range(1, 8)))


def test_scface_is_a_search_for_each_distance(tmp_path):
    scface(tmp_path)
    searches = read_scface(tmp_path)
    assert [search.name for search in searches] == ["distance_1", "distance_2", "distance_3"]
    for search in searches:
        assert search.gallery_who.tolist() == [1, 2, 130]
        # Cameras 6 and 7 see infrared.
        assert sorted(search.probe_who.tolist()) == [2] * 5 + [130] * 5
        assert all(f"_{search.name[-1]}.jpg" in picture.where for picture in search.probes)


def test_scface_also_takes_the_original_mugshots_and_says_what_it_lacks(tmp_path):
    scface(tmp_path, "mugshot_frontal_original_all/{}.jpg")
    (tmp_path / "mugshot_frontal_cropped_all" / "readme.png").unlink()
    (tmp_path / "mugshot_frontal_cropped_all").rmdir()
    assert read_scface(tmp_path)[0].gallery_who.tolist() == [1, 2, 130]
    fill(tmp_path / "other", "mugshot_frontal_cropped_all/me.jpg")
    with pytest.raises(ValueError, match="no picture named like"):
        read_scface(tmp_path / "other")


@pytest.fixture
def people_bin(tmp_path):
    """a-b-c are one person through b, d-e another, f and g and h stand alone."""
    pictures = {name: png((n, 0, 0)) for n, name in enumerate("abcdefgh")}
    pairs = [("f", "a", 0), ("a", "b", 1), ("d", "e", 1), ("g", "h", 0), ("b", "c", 1), ("e", "d", 1)]
    write_pairs(tmp_path / "p.bin", [pictures[name] for a, b, _ in pairs for name in (a, b)], [same for *_, same in pairs])
    return tmp_path / "p.bin"


def colours(pictures):
    return ["abcdefgh"[read_square([picture], 6)[0, 0, 0, 0]] for picture in pictures]


def test_the_people_of_a_bin_are_what_its_pairs_connect(people_bin):
    pictures, who = bin_people(people_bin)
    people = {}
    for face, person in zip(colours(pictures), who.tolist(), strict=True):
        people.setdefault(person, []).append(face)
    assert sorted(map(sorted, people.values())) == [["a", "b", "c"], ["d", "e"], ["f"], ["g"], ["h"]]


def test_the_first_face_is_enrolled_and_the_others_are_sought(people_bin):
    search = split_people(*bin_people(people_bin), distractors=False)
    assert colours(search.gallery) == ["a", "d"] and colours(search.probes) == ["b", "e", "c", "f", "g", "h"]
    mates = [person in search.gallery_who for person in search.probe_who.tolist()]
    assert mates == [True, True, True, False, False, False]
    assert search.probe_who[0] == search.probe_who[2] == search.gallery_who[0] != search.probe_who[1]


def test_people_of_one_face_may_be_distractors(people_bin):
    search = split_people(*bin_people(people_bin), distractors=True)
    assert colours(search.gallery) == ["a", "d", "f", "g", "h"] and search.gallery_who[2:].tolist() == [NOBODY] * 3
    assert colours(search.probes) == ["b", "e", "c"]


def test_a_bin_of_strangers_has_nothing_to_find(tmp_path):
    write_pairs(tmp_path / "p.bin", [png((n, 0, 0)) for n in range(4)], [False, False])
    with pytest.raises(ValueError, match="nobody has two different faces"):
        split_people(*bin_people(tmp_path / "p.bin"), distractors=False)


def test_further_distractors_belong_to_nobody(people_bin):
    search = split_people(*bin_people(people_bin), distractors=False)
    more = with_distractors(search, [Picture("x"), Picture("y")])
    assert more.gallery_who[-2:].tolist() == [NOBODY] * 2 and len(more.gallery) == len(more.gallery_who) == 4
    assert len(search.gallery) == 2
