import numpy as np
import pytest

from aird_plugin.inspection.labels import about_people


@pytest.mark.parametrize(("labels", "classes", "told"), [
    ([0, 0, 1, 1], 2, []),
    ([0, 0, 2, 2], 4, [("doubt", "2 of 4 people have no face (the first is number 1)")]),
    ([0, 0, 1], 2, [("note", "1 of 2 people have one face")]),
    ([0, 1, 2], 3, [("doubt", "nobody has two faces")]),
    ([0, 0, 0], 1, [("doubt", "all faces are one person's")]),
])  # fmt: skip
def test_what_labels_tell(labels, classes, told):
    assert [(one.status, one.what) for one in about_people(np.array(labels), classes)] == told
