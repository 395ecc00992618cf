from types import SimpleNamespace

import numpy as np
import pytest

from aird_plugin.data.images import encode_jpeg
from aird_plugin.data.pairs import write_pairs
from aird_plugin.diagnostics.leaks import check_shared_identities, check_shared_images, max_cosine, shared_images


class Payloads(list):
    def payload(self, row):
        return self[row]


def test_shared_images_are_found_byte_for_byte():
    ends_alike = b"a" * 10 + b"z" * 40
    records = Payloads([b"1" * 50, ends_alike, b"3" * 50, b"3" * 50])
    assert shared_images(records, [b"b" * 10 + b"z" * 40, b"3" * 50, b"3" * 50, b"1" * 50]) == {1: 2, 3: 0}


def test_shared_image_is_a_warning(tmp_path, noise_faces):
    images = [encode_jpeg(face) for face in noise_faces(4)]
    write_pairs(tmp_path / "a.bin", images, [1, 0])
    assert check_shared_images(Payloads([images[3], b"x"]), tmp_path / "a.bin").what == (
        "1 of 4 images of a.bin are training images (one of pair 1 is row 0)"
    )
    assert check_shared_images(Payloads([b"x"]), tmp_path / "a.bin").status == "ok"


def bank_of(embeddings_ND, label_N):
    unit = embeddings_ND / np.linalg.norm(embeddings_ND, axis=1, keepdims=True)
    return SimpleNamespace(embeddings_NVD=unit[:, None].astype(np.float16), label_N=np.asarray(label_N))


def test_max_cosine_skips_images_of_the_same_label():
    bank = bank_of(np.array([[1.0, 0], [0.6, 0.8], [0, 1.0]]), [0, 0, 1])
    assert max_cosine(bank, np.array([[1.0, 0], [1.0, 0]]), np.array([0, -1])) == pytest.approx([0, 1], abs=1e-3)


@pytest.mark.parametrize(("unseen", "status"), [(True, "ok"), (False, "warning")])
def test_shared_identities_are_found_without_a_shared_image(tmp_path, noise_faces, unseen, status):
    """300 training identities; the test images are new, of unseen or of the same identities."""
    rng = np.random.default_rng(0)
    center_CD = rng.normal(size=(300, 32))
    bank = bank_of((center_CD.repeat(2, 0) + rng.normal(0, 0.3, (600, 32))), np.arange(300).repeat(2))
    test_ND = rng.normal(size=(40, 32)) if unseen else center_CD[:40] + rng.normal(0, 0.3, (40, 32))
    write_pairs(tmp_path / "a.bin", [encode_jpeg(face) for face in noise_faces(40)], [1, 0] * 10)
    teacher = SimpleNamespace(embed=lambda images: test_ND[: len(images)])
    diagnostic = check_shared_identities(bank, teacher, tmp_path / "a.bin")
    assert diagnostic.status == status and "of 40 images of a.bin" in diagnostic.what
