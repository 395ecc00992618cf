"""The flags that `aird evaluate`, `compare` and `identify` share."""

from aird_plugin.cli.input_arguments import INPUT_FLAGS, OneOrSeveral

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
        metavar="FILE", action=OneOrSeveral, help="the teacher, .onnx or .pt, for the HR side; given several times: an ensemble"
    ),
    "--teacher-join": dict(metavar="HOW", default="mean", help="join of several teachers: mean or concat. default: mean"),
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
        help="FaceBN: weight of the old statistics, 0 to 1. default: 0.9, of full 0.1; the paper prints 0.1",
    ),
    "--include-bn1d": dict(
        action="store_true", help="FaceBN: adapt BatchNorm1d too, the embedding layer's; the paper says all layers"
    ),
    "--order": dict(metavar="O", default="file", help="order of the images over the batches: file, or a seed to shuffle"),
    "--centre": dict(action="store_true", help="subtract the mean embedding of each side: the control to FaceBN"),
    "--training-centre": dict(
        action="store_true",
        help="subtract the student's mean embedding over its training images, the teacher's from the teacher's; uses no test "
        "image. For models with a means.json",
    ),
    "--batch": dict(metavar="N", type=int, default=96, help="images per batch, for FaceBN. default: 96"),
    "--network": dict(metavar="NAME", help="architecture of a bare .pt file, for example native16_1m"),
    "--json": dict(metavar="FILE", help="write the rows to this file, with all digits"),
}
