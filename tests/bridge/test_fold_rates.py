import importlib

import numpy as np
import pytest

from aird_plugin.bridge import checkout as checkouts
from aird_plugin.bridge import hooks
from aird_plugin.bridge.tools import opened
from aird_plugin.evaluation.verification import THRESHOLDS_T, fold_rates


@pytest.mark.parametrize("pairs, width, noise", [(600, 512, 1.5), (107, 128, 1.0), (60, 3, 0.5)])
def test_fold_rates_equal_upstreams_bit_for_bit(checkout, pairs, width, noise):
    random = np.random.default_rng(pairs)
    same_N, embeddings_2ND = random.random(pairs) < 0.5, random.normal(size=(2 * pairs, width))
    embeddings_2ND[1::2] = np.where(same_N[:, None], embeddings_2ND[0::2], 0) + noise * embeddings_2ND[1::2]
    embeddings_2ND /= np.linalg.norm(embeddings_2ND, axis=1, keepdims=True)
    with opened(checkouts.find(checkout, hooks.IJB_OF_ONNX), hooks.VERIFICATION):
        script = importlib.import_module(hooks.VERIFICATION)
        theirs = script.calculate_roc(THRESHOLDS_T, embeddings_2ND[0::2], embeddings_2ND[1::2], same_N)
    ours = fold_rates(embeddings_2ND, same_N)
    assert 0.5 < ours.accuracy_F.mean() <= 1
    for one, other in zip((ours.tpr_FT.mean(0), ours.fpr_FT.mean(0), ours.accuracy_F), theirs, strict=True):
        assert one.tolist() == other.tolist()
