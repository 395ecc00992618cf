from types import SimpleNamespace

import numpy as np

from aird_plugin.data.images import encode_jpeg
from aird_plugin.data.pairs import pair_faces, read_pairs, write_pairs
from aird_plugin.prior.samples import faces_to_show


def test_verification_images_of_several_sizes_are_shown(tmp_path, noise_faces):
    """Other readers of such a file resize them; here they ended a training after its last step."""
    images = [encode_jpeg(image) for side in (112, 48) for image in noise_faces(4, side)]
    write_pairs(tmp_path / "mixed.bin", images, [True, False] * 2)
    shown = SimpleNamespace(prior_pictures=3), SimpleNamespace(val_targets=(str(tmp_path / "mixed.bin"),))
    faces_BHWC = faces_to_show(SimpleNamespace(prior=shown[0], run=shown[1]))
    assert np.array_equal(faces_BHWC, pair_faces(read_pairs(tmp_path / "mixed.bin"))[[0, 2, 6]])
