from types import SimpleNamespace

import numpy as np
import pytest

from aird_plugin.data.images import encode_jpeg
from aird_plugin.data.pairs import write_pairs
from aird_plugin.inspection.leaks import about_people_in_both, about_pictures, nearest, shared_pictures


class Payloads(list):
    def payload(self, row):
        return self[row]


def test_shared_pictures_are_found_byte_for_byte():
    ends_alike = b"a" * 10 + b"z" * 40
    records = Payloads([b"1" * 50, ends_alike, b"3" * 50, b"3" * 50])
    assert shared_pictures(records, [b"b" * 10 + b"z" * 40, b"3" * 50, b"3" * 50, b"1" * 50]) == {1: 2, 3: 0}


def test_a_shared_picture_is_a_doubt(tmp_path, noise_faces):
    pictures = [encode_jpeg(face) for face in noise_faces(4)]
    write_pairs(tmp_path / "a.bin", pictures, [1, 0])
    assert about_pictures(Payloads([pictures[3], b"x"]), tmp_path / "a.bin").what == (
        "1 of 4 pictures of a.bin are training faces (one of pair 1 is face 0)"
    )
    assert about_pictures(Payloads([b"x"]), tmp_path / "a.bin").status == "ok"


def bank_of(embeddings_ND, person_N):
    unit = embeddings_ND / np.linalg.norm(embeddings_ND, axis=1, keepdims=True)
    return SimpleNamespace(embeddings_NVD=unit[:, None].astype(np.float16), person_N=np.asarray(person_N))


def test_the_nearest_other_person():
    bank = bank_of(np.array([[1.0, 0], [0.6, 0.8], [0, 1.0]]), [0, 0, 1])
    assert nearest(bank, np.array([[1.0, 0], [1.0, 0]]), np.array([0, -1])) == pytest.approx([0, 1], abs=1e-3)


@pytest.mark.parametrize(("strangers", "status"), [(True, "ok"), (False, "doubt")])
def test_people_in_both_are_noticed_without_a_shared_picture(tmp_path, noise_faces, strangers, status):
    """300 training people; the tests' pictures are other pictures, of others or of the same."""
    rng = np.random.default_rng(0)
    people_CD = rng.normal(size=(300, 32))
    bank = bank_of((people_CD.repeat(2, 0) + rng.normal(0, 0.3, (600, 32))), np.arange(300).repeat(2))
    tested = rng.normal(size=(40, 32)) if strangers else people_CD[:40] + rng.normal(0, 0.3, (40, 32))
    write_pairs(tmp_path / "a.bin", [encode_jpeg(face) for face in noise_faces(40)], [1, 0] * 10)
    teacher = SimpleNamespace(embed=lambda faces: tested[: len(faces)])
    finding = about_people_in_both(bank, teacher, tmp_path / "a.bin")
    assert finding.status == status and "of 40 faces of a.bin" in finding.what
