import numpy as np
import pytest

from aird_plugin.diagnostics.labels import check_labels_of_identities


@pytest.mark.parametrize(
    ("labels", "classes", "expected"),
    [
        ([0, 0, 1, 1], 2, []),
        ([0, 0, 2, 2], 4, [("warning", "2 of 4 identities have no image (the first is label 1)")]),
        ([0, 0, 1], 2, [("note", "1 of 2 identities have a single image")]),
        ([0, 1, 2], 3, [("warning", "no identity has two images")]),
        ([0, 0, 0], 1, [("warning", "all images have the same label")]),
    ],
)
def test_label_diagnostics(labels, classes, expected):
    assert [(one.status, one.what) for one in check_labels_of_identities(np.array(labels), classes)] == expected
