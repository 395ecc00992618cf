from types import SimpleNamespace

import numpy as np
import pytest

from aird_plugin.data.images import encode_jpeg
from aird_plugin.data.pairs import write_pairs
from aird_plugin.diagnostics import leaks
from aird_plugin.diagnostics.leaks import check_shared_identities, check_shared_images, nearest, shared_images
from aird_plugin.diagnostics.near_copies import impostor_limit


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
    cosine_NN = unit @ unit.T
    own_NN = np.equal.outer(label_N, label_N)
    other_NN = ~np.eye(len(unit), dtype=bool)
    lists = [np.where(allowed, cosine_NN, -2).argmax(1)[:, None] for allowed in (own_NN & other_NN, ~own_NN)]
    return SimpleNamespace(
        embeddings_NVD=unit[:, None].astype(np.float16), label_N=np.asarray(label_N), same_NS=lists[0], hard_NK=lists[1]
    )


def test_nearest_skips_images_of_the_same_label():
    bank = bank_of(np.array([[1.0, 0], [0.6, 0.8], [0, 1.0]]), [0, 0, 1])
    cosine_Q, row_Q = nearest(bank, np.array([[1.0, 0], [1.0, 0]]), np.array([0, -1]))
    assert cosine_Q == pytest.approx([0, 1], abs=1e-3) and row_Q.tolist() == [2, 0]


IDENTITIES, TEST, WIDTH = 300, 40, 128


@pytest.fixture
def target(tmp_path, noise_faces):
    """A .bin of 40 images, whose embeddings each test states."""
    write_pairs(tmp_path / "a.bin", [encode_jpeg(face) for face in noise_faces(TEST)], [1, 0] * (TEST // 4))
    return tmp_path / "a.bin"


def training(rng, per_identity: int = 3):
    """Centers, and embeddings and labels of three images of each of 300 identities."""
    center_CD = rng.normal(size=(IDENTITIES, WIDTH))
    center_CD /= np.linalg.norm(center_CD, axis=1, keepdims=True)
    label_N = np.arange(IDENTITIES).repeat(per_identity)
    return center_CD, center_CD[label_N] + rng.normal(0, 0.05, (len(label_N), WIDTH)), label_N


def teacher_of(test_ND):
    """A teacher that gives the n-th test image, in the order of the check's draw, the n-th embedding."""
    return SimpleNamespace(embed=lambda images: test_ND[: len(images)])


@pytest.mark.parametrize(("unseen", "status"), [(True, "ok"), (False, "warning")])
def test_shared_identities_are_found_without_a_shared_image(target, unseen, status):
    """300 training identities; the test images are new, of unseen or of the same identities."""
    rng = np.random.default_rng(0)
    center_CD, embeddings_ND, label_N = training(rng)
    test_ND = rng.normal(size=(TEST, WIDTH)) if unseen else center_CD[:TEST] + rng.normal(0, 0.05, (TEST, WIDTH))
    copies, diagnostic = check_shared_identities(bank_of(embeddings_ND, label_N), teacher_of(test_ND), target)
    assert diagnostic.status == status and "of 40 images of a.bin" in diagnostic.what
    assert copies.status == "ok" and "0 of 40 images of a.bin are near copies" in copies.what


def noisy(label_N, kind: str, rng):
    """The labels with a fault: rows filed under another identity, or identities cut in two."""
    label_N, count = label_N.copy(), len(label_N)
    if kind.startswith("cut"):
        cut = np.arange(int(kind.split()[1]))
        label_N[np.isin(label_N, cut) & (np.arange(count) % 3 == 0)] += IDENTITIES
    else:
        wrong = rng.permutation(count)[: int(float(kind) * count)]
        label_N[wrong] = rng.integers(0, IDENTITIES, len(wrong))
    return label_N


@pytest.mark.parametrize("kind", ["0", "0.02", "0.1", "0.3", "cut 2", "cut 20"])
def test_label_noise_does_not_hide_shared_identities(target, kind):
    """Every test identity is in training; the limit stays what impostors reach, whatever the labels say."""
    rng = np.random.default_rng(0)
    center_CD, embeddings_ND, label_N = training(rng)
    bank = bank_of(embeddings_ND, noisy(label_N, kind, rng))
    test_ND = center_CD[100 : 100 + TEST] + rng.normal(0, 0.05, (TEST, WIDTH))
    *_, diagnostic = check_shared_identities(bank, teacher_of(test_ND), target)
    assert diagnostic.status == "warning" and int(diagnostic.what.split("%")[0]) > 85


def test_limit_is_that_of_clean_labels_whatever_the_noise():
    rng = np.random.default_rng(0)
    _, embeddings_ND, label_N = training(rng, 10)
    clean, wrong = (bank_of(embeddings_ND, noisy(label_N, share, rng)) for share in ("0", "0.3"))
    measured = [np.quantile(nearest(bank, bank.embeddings_NVD[::9, 0], bank.label_N[::9])[0], 0.99) for bank in (clean, wrong)]
    limits = [impostor_limit(bank.embeddings_NVD, bank.label_N) for bank in (clean, wrong)]
    assert limits[0] == pytest.approx(measured[0], abs=0.12) and limits[1] == pytest.approx(limits[0], abs=0.05)
    assert measured[1] > measured[0] + 0.2


def test_check_without_power_is_a_note_and_not_ok(target, monkeypatch):
    """Every identity is filed twice: impostors are as similar as images of one identity."""
    rng = np.random.default_rng(0)
    _, embeddings_ND, label_N = training(rng, 4)
    label_N = np.where(np.arange(len(label_N)) % 2, label_N, label_N + IDENTITIES)
    monkeypatch.setattr(leaks, "impostor_limit", lambda *_: 1.0)
    unseen_ND = rng.normal(size=(TEST, WIDTH))
    *_, diagnostic = check_shared_identities(bank_of(embeddings_ND, label_N), teacher_of(unseen_ND), target)
    assert diagnostic.status == "note" and "identities shared with a.bin cannot be found" in diagnostic.what


def test_near_copies_of_training_images_are_a_warning(target):
    """Four re-encoded copies: too few to be found as shared identities."""
    rng = np.random.default_rng(0)
    _, embeddings_ND, label_N = training(rng)
    test_ND = rng.normal(size=(TEST, WIDTH))
    test_ND[:1] = embeddings_ND[30:31] + rng.normal(0, 0.005, (1, WIDTH))
    copies, identities = check_shared_identities(bank_of(embeddings_ND, label_N), teacher_of(test_ND), target)
    assert copies.status == "warning" and "1 of 40 images of a.bin are near copies of training images" in copies.what
    assert "is row 30)" in copies.what and identities.status == "ok"
