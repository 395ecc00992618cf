"""The model card's sentences on a run."""

import pytest

from aird_plugin.export.card import accuracy, summary


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ({}, "trained on 16 px images."),
        ({"also_px": [32, 112]}, "trained on 16 and 32 and 112 px images."),
        ({"px_range": [8, 64], "untouched": 0.0}, "trained on images of 8 to 64 px."),
        (
            {"px_range": [8, 64], "px_weights": [2, 1], "untouched": 0.0},
            "trained on images of 8 to 64 px (weights of its parts, small to large: 2, 1).",
        ),
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


ROW = {"pairs": "lfw.bin", "n_pairs": 9, "px": 16, "protocol": "lr-hr", "high_side": "teacher", "facebn": None, "accuracy": 77.5}
ROW |= {"ci95": [70, 80]}


def test_accuracy_states_how_it_was_measured():
    """A file's own features, without the mirror image and warped up by FaceAnalysis, have another accuracy."""
    text = accuracy([ROW | {"degradation": "insightface-warp"}])
    assert "Degradation: insightface-warp." in text and "plus that of its mirror image" in text and "training mean" not in text
    assert "Degradation: bicubic." in accuracy([ROW])


def test_accuracy_beside_centered_files_is_said_to_be_of_the_uncentered_network():
    assert "before the training mean was subtracted: those of the files differ" in accuracy([ROW], centered=True)
