"""Networks by name: faces in, embeddings out."""

import difflib

from torch import nn

NETWORKS = {
    "r18": "arcface_torch's iresnet18, 112 px",
    "r34": "arcface_torch's iresnet34, 112 px",
    "r50": "arcface_torch's iresnet50, 112 px",
    "r100": "arcface_torch's iresnet100, 112 px",
    "mbf": "arcface_torch's mobilefacenet, 112 px",
    "mfn": "MobileFaceNet as published (cropped to 112x96 inside), 112 px",
    "native{px}_{millions}m": "plain 3x3 convolutions on the px x px face, e.g. native16_1m, native32_0.2m; "
    "with _dw depthwise-separable ones, with _prelu PReLU, e.g. native16_1m_dw_prelu",
}


def build(name: str, embedding_size: int = 512) -> nn.Module:
    """Build a freshly initialised network.

    name: one of `NETWORKS`; native students spell their side and size, as in `native16_1m`.
    embedding_size: width D of the embedding.

    The network maps (B, 3, S, S) float32, RGB, (x - 127.5) / 127.5, to (B, D), not normalised. S is its
    attribute `input_size`: 112, or px for a native student.

    Raises ValueError for an unknown name (naming the choices and the nearest) or an impossible size.
    """
    # Imported here so that asking for one architecture never loads the others.
    from aird_plugin.models import iresnet, mobilefacenet, native, native_plan

    if not isinstance(embedding_size, int) or embedding_size < 1:
        raise ValueError(f"embedding_size is a whole number of 1 or more, got {embedding_size!r}")
    if name in iresnet.BLOCKS:
        return iresnet.IResNet(iresnet.BLOCKS[name], embedding_size)
    if name == "mbf":
        return mobilefacenet.ArcfaceMobileFaceNet(embedding_size)
    if name == "mfn":
        return mobilefacenet.MobileFaceNet(embedding_size)
    if native_plan.spells_native(name):
        return native.Native(native_plan.parse_name(name), embedding_size)
    raise ValueError(
        f"network {name!r} is not one of {', '.join(NETWORKS)} (px 8 to 112); nearest: {nearest_name(name)}"
    )


def nearest_name(name: object) -> str:
    """The known network name spelt most like `name`; for error messages."""
    fixed = [known for known in NETWORKS if "{" not in known]
    examples = [*fixed, "native16_1m", "native32_0.2m", "native112_0.5m", "native16_1m_dw"]
    return difflib.get_close_matches(str(name), examples, n=1, cutoff=0.0)[0]
