"""The flags that `aird evaluate`, `compare` and `identify` share."""

from aird_plugin.cli.input_arguments import INPUT_FLAGS, OneOrSeveral

# Other spellings of a flag: one option, whose value and keys in rows have the first name.
US_SPELLINGS = {"--centre": ("--center",), "--training-centre": ("--training-center",)}
FLAGS = {
    "--degradation": dict(
        metavar="NAME",
        nargs="+",
        help="how HR images become LR and reach the network: bicubic; insightface-warp, as FaceAnalysis crops a small face; "
        "blur, noise, jpeg, realworld: cameras other than the training's. default: bicubic",
    ),
    "--protocol": dict(
        metavar="P",
        nargs="+",
        help="lr-lr: both images of a pair LR. lr-hr: the first one LR, the second one HR. default: lr-lr",
    ),
    "--high-side": dict(
        metavar="MODEL",
        help="model for the HR images of lr-hr: student or teacher. "
        "default: the student if it takes 112 px images, else the teacher",
    ),
    "--teacher": dict(
        metavar="FILE",
        action=OneOrSeveral,
        help="the teacher, for the HR side: a run folder, .onnx or .pt; several times: an ensemble. default: none",
    ),
    "--teacher-join": dict(metavar="HOW", help="how to join several teachers' embeddings: mean or concat. default: mean"),
    **INPUT_FLAGS,
    "--teacher-input": INPUT_FLAGS["--teacher-input"] | dict(action=OneOrSeveral),
    "--facebn": dict(
        metavar="MODE",
        help="adapt the student's BatchNorm to the test images. stateless: each batch by itself; stream: each batch continues "
        "from the one before; full: one pass over all images, then frozen. default: no adaptation",
    ),
    "--keep": dict(
        metavar="F",
        type=float,
        help="FaceBN: weight of the old statistics, 0 to 1. default: 0.9, with full 0.1; the paper has 0.1",
    ),
    "--include-bn1d": dict(
        action="store_true", help="adapt BatchNorm1d (the embedding layer's) too, as the paper's \"all layers\" says"
    ),
    "--order": dict(metavar="O", help="order of the images in FaceBN's batches: file, or a seed to shuffle. default: file"),
    "--centre": dict(action="store_true", help="subtract the mean embedding of each side: the control to FaceBN"),
    "--training-centre": dict(
        action="store_true",
        help="subtract the mean embedding over the training images, of student and teacher each its own; uses no test image. "
        "Needs the run's means.json",
    ),
    "--batch": dict(metavar="N", type=int, default=96, help="images per batch, for FaceBN. default: 96"),
    "--network": dict(metavar="NAME", help="architecture of a bare .pt file, for example native16_1m. default: by its keys"),
    "--json": dict(metavar="FILE", help="also write the rows to this file, with all digits"),
}
