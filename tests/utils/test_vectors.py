import numpy as np
import pytest

from aird_plugin.utils.vectors import normalise


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_row_of_length_zero_stays_zero(dtype):
    found = normalise(np.array([[0, 0], [3, 4]], dtype))
    assert found.dtype == dtype and np.array_equal(found, np.array([[0, 0], [0.6, 0.8]], dtype))
