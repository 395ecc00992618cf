"""Recipe keys of a run inside an arcface_torch checkout."""

from dataclasses import dataclass, field

READERS = ("bank", "upstream")
# Values that are not written to recipe.json, nor shown in messages.
SECRETS = ("wandb_key",)
# Keys of arcface_torch's configs that a recipe has not itself and passes on in `upstream`.
UPSTREAM_KEYS = frozenset({"dali", "dali_aug", "interclass_filtering_threshold"})


@dataclass(frozen=True)
class BridgeConfig:
    """Recipe keys that matter only inside an arcface_torch checkout (`--arcface-torch DIR`).

    reader: "bank" takes batches from the bank, in the embedded loop's order; "upstream" keeps arcface_torch's own reader (with
    DALI, if upstream={"dali": True}), downsamples its images in the step and runs the teacher on each. keep_mxnet: where mxnet is
    installed, arcface_torch reads with it instead of our reader under mxnet's names. gradient_compression: arcface_torch
    averages the student's gradients over ranks in float16 regardless of fp16; False keeps their dtype. save_all_states:
    arcface_torch also writes its own checkpoint_gpu_R.pt, from which it can resume without this package. upstream: further keys
    passed to arcface_torch unchanged, such as {"dali": True}.
    """

    reader: str = "bank"
    keep_mxnet: bool = False
    gradient_compression: bool = True
    save_all_states: bool = False
    upstream: dict = field(default_factory=dict)

    def __post_init__(self):
        if self.reader not in READERS:
            raise ValueError(f"reader is one of {', '.join(READERS)}; got {self.reader!r}")
        for key in SECRETS:
            if key in self.upstream:
                raise ValueError(f"upstream[{key!r}] would be printed into training.log; set WANDB_API_KEY in the environment")
