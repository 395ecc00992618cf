"""Comparisons that hold on every processor: float64 where two summation orders must agree, or a bound from the length."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

# Two orders of a sum of n numbers differ by at most 2 (n - 1) u times the sum of their sizes, u being half the distance from 1 to
# the next number. In float64 (u = 1.1e-16) sums of a few thousand terms of size up to 100 stay within 1e-10 of one another, and
# later operations (a softmax, a division by a norm of size 1) enlarge that by less than ten.
RTOL, ATOL = 1e-9, 1e-10


@contextmanager
def float64() -> Iterator[None]:
    """Set torch's default dtype to float64 inside the block."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def assert_equal_up_to_order(found, expected) -> None:
    """The same names with the same float64 values up to the order of sums; float32 values are an error."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
    for name, value in expected.items() if isinstance(expected, dict) else [("value", expected)]:
        other = found[name] if isinstance(expected, dict) else found
        assert not value.is_floating_point() or value.dtype == other.dtype == torch.float64, f"{name} is {other.dtype}"
        torch.testing.assert_close(other, value, rtol=RTOL, atol=ATOL, msg=lambda m, n=name: f"{n}: {m}")


def rounding(terms: int, largest: float = 1.0, dtype=np.float32) -> float:
    """How far two orders of a sum of `terms` numbers of size up to `largest` may differ: at most 2 (terms - 1) u terms *
    largest. Returns the bound for their mean, 2 terms u largest. u: half the distance from 1 to the next number."""
    return 2 * terms * float(np.finfo(dtype).eps) / 2 * largest
