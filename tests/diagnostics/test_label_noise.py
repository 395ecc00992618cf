import numpy as np
import pytest

from aird_plugin.diagnostics.label_noise import check_label_noise
from tests.diagnostics.test_leaks import IDENTITIES, bank_of, training


@pytest.mark.parametrize(("share", "status"), [(0, "ok"), (0.05, "ok"), (0.3, "warning")])
def test_share_of_wrong_labels_is_reported(share, status):
    """Six images of an identity, of which a share is filed under another one."""
    rng = np.random.default_rng(0)
    _, embeddings_ND, label_N = training(rng, 6)
    wrong = rng.permutation(len(label_N))[: int(share * len(label_N))]
    label_N[wrong] = rng.integers(0, IDENTITIES, len(wrong))
    [diagnostic] = check_label_noise(bank_of(embeddings_ND, label_N))
    assert diagnostic.status == status
    reported = float(diagnostic.what.split(": ")[1].split("%")[0]) / 100
    assert reported == pytest.approx(share, abs=0.06)


def test_identities_of_few_images_have_no_share():
    _, embeddings_ND, label_N = training(np.random.default_rng(0), 2)
    assert not list(check_label_noise(bank_of(embeddings_ND, label_N)))
