"""Test images that are compared with a copy of themselves: byte for byte, re-encoded, mirrored, brighter."""

import numpy as np
import pytest
from PIL import Image

from aird_plugin.data.identification import IdentificationSet, ImageFile
from aird_plugin.data.images import encode_jpeg
from aird_plugin.data.pairs import write_pairs
from aird_plugin.data.synthetic.draw import draw_person
from aird_plugin.evaluation.copies import signatures, warning_of_probes
from aird_plugin.evaluation.pair_evaluator import PairEvaluator

COPIES = {
    "bytes": lambda image: encode_jpeg(image),
    "re-encoded": lambda image: encode_jpeg(image, 40),
    "mirrored": lambda image: encode_jpeg(image[:, ::-1]),
    "brighter": lambda image: encode_jpeg((image * 0.9 + 20).astype(np.uint8)),
    "half the size": lambda image: encode_jpeg(np.asarray(Image.fromarray(image).resize((56, 56)))),
}


def pairs_of(path, copy=None, place: int = 2):
    """Ten genuine and ten impostor pairs in turn; one pair shows an image and its copy."""
    images = []
    for n in range(20):
        pair = [draw_person(n, 2 * n), draw_person(n if n % 2 == 0 else n + 30, 2 * n + 1)]
        images += [encode_jpeg(pair[0]), copy(pair[0]) if copy and n == place else encode_jpeg(pair[1])]
    write_pairs(path, images, [n % 2 == 0 for n in range(20)])
    return path


@pytest.mark.parametrize("kind", COPIES)
@pytest.mark.parametrize(("place", "found"), [(2, (1, 0)), (3, (0, 1))])
def test_pair_of_one_image_is_a_warning(tmp_path, kind, place, found):
    text = PairEvaluator(None, pairs_of(tmp_path / "p.bin", COPIES[kind], place)).copies()
    numbers = f"{found[0]} of 10 genuine and {found[1]} of 10 impostor pairs of {tmp_path}/p.bin"
    assert text.startswith(f"{numbers} show one image twice (the first is pair {place})")


def test_pairs_of_different_images_give_no_warning(tmp_path):
    assert PairEvaluator(None, pairs_of(tmp_path / "p.bin")).copies() == ""


def identification_set(copy=None) -> IdentificationSet:
    """Four identities of two gallery images and two probes, a distractor, a probe of nobody; probe 5 is a copy."""
    drawn = lambda label, n: draw_person(label, 10 * label + n)  # noqa: E731
    gallery = [encode_jpeg(drawn(label, n)) for label in range(4) for n in range(2)] + [encode_jpeg(drawn(8, 0))]
    probes = [encode_jpeg(drawn(label, n)) for label in range(4) for n in (2, 3)] + [encode_jpeg(drawn(9, 0))]
    if copy:
        probes[5] = copy(drawn(2, 1))
    labels_G, labels_P = np.array([0, 0, 1, 1, 2, 2, 3, 3, -1]), np.array([0, 0, 1, 1, 2, 2, 3, 3, 9])
    named = [
        [ImageFile(f"{side} {n}", payload) for n, payload in enumerate(files)] for side, files in (("g", gallery), ("p", probes))
    ]
    return IdentificationSet("", named[0], labels_G, named[1], labels_P, np.arange(9))


@pytest.mark.parametrize("kind", COPIES)
def test_probe_copied_from_the_gallery_is_a_warning(kind):
    how = "byte for byte" if kind == "bytes" else "re-encoded or mirrored"
    text = warning_of_probes(identification_set(COPIES[kind]))
    assert text.startswith(f"1 of 8 mated probes are copies of gallery images of their identity (the first, {how}: p 5 of g 5)")


def test_other_probes_give_no_warning():
    assert warning_of_probes(identification_set()) == ""
    unmated = identification_set()._replace(probe_labels=np.full(9, 7))
    assert warning_of_probes(unmated) == ""


def test_signature_by_hand():
    """Left half white, right half black: 16 x 16 cells of +1 and -1, scaled to length 1; one colour has none."""
    image = np.zeros((2, 112, 112, 3), np.uint8)
    image[0, :, :56] = 255
    expected = np.where(np.arange(16) < 8, 1, -1) / 16
    np.testing.assert_allclose(signatures(image)[0].reshape(16, 16), np.broadcast_to(expected, (16, 16)), atol=1e-6)
    assert not signatures(image)[1].any() and signatures(image[:0]).shape == (0, 256)
