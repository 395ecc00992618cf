"""Building networks by name, and the errors for unknown names."""

import pytest

from aird_plugin.models import NETWORKS, build, nearest_name


@pytest.mark.parametrize(("name", "nearest"), [("r180", "r18"), ("mbff", "mbf"), ("iresnet34", "r34"), ("R50", "r50")])
def test_unknown_name_error_lists_all_choices_and_the_nearest(name, nearest):
    with pytest.raises(ValueError) as error:
        build(name)
    assert all(known in str(error.value) for known in NETWORKS)
    assert str(error.value).endswith(f"nearest: {nearest}")


@pytest.mark.parametrize("name", [None, 18, "", "resnet"])
def test_invalid_name_is_rejected(name):
    with pytest.raises(ValueError, match="is not one of r18"):
        build(name)


@pytest.mark.parametrize("size", [0, -1, 1.5, "512", None])
def test_invalid_embedding_size_is_rejected(size):
    with pytest.raises(ValueError, match="embedding_size"):
        build("mfn", size)


def test_nearest_name_of_a_native_student_is_native():
    assert nearest_name("nativ16_1m") == "native16_1m"
