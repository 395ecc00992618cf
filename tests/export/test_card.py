"""The model card's sentences on a run."""

import pytest

from aird_plugin.export.card import summary


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ({}, "trained on 16 px images."),
        ({"also_px": [32, 112]}, "trained on 16 and 32 and 112 px images."),
        ({"px_range": [8, 64], "untouched": 0.0}, "trained on images of 8 to 64 px."),
        ({"px_range": [8, 64], "untouched": 0.125}, "trained on images of 8 to 64 px, 12.5% of them untouched at 112 px."),
    ],
)
def test_summary_names_the_sizes_of_the_training_images(recipe, words):
    metadata = {"network": "onnx", "parameters": 10, "embedding_size": 8, "px": 16, "resize": "r", "recipe": recipe}
    assert words in summary(metadata)


def test_summary_of_a_mixture_names_degradations_and_not_versions():
    recipe = {"degradation": {"bicubic": 3, "blur": 1.5}}
    resize = "mixture of bicubic: pillow-bicubic-antialias/1; blur: pillow-bicubic-antialias/1, blur/1"
    metadata = {"network": "onnx", "parameters": 9, "embedding_size": 4, "px": 16, "resize": resize, "recipe": recipe}
    assert summary(metadata).endswith("Degradations, with their weights: bicubic 3, blur 1.5.")
