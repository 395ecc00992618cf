"""Options of enrol, recognise and calibrate: errors name the option that was given."""

import argparse

import pytest

from aird_plugin.cli.model_arguments import add_model_arguments, open_analysis


@pytest.mark.parametrize("size", ["100", "0", "-32"])
def test_other_det_size_is_an_error_that_names_the_option(size, tmp_path):
    parser = argparse.ArgumentParser()
    add_model_arguments(parser)
    args = parser.parse_args(["--models", str(tmp_path), f"--det-size={size}"])
    with pytest.raises(ValueError, match=rf"^--det-size must be a multiple of 32 above 0, got {size}$"):
        open_analysis(args)
