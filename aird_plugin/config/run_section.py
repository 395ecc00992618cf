"""Recipe keys of the run as a whole: folder, checkpoints, verification, precision and device."""

import os
from dataclasses import dataclass

from aird_plugin.evaluation.eval_spec import PROTOCOLS
from aird_plugin.losses.ranges import at_least, between
from aird_plugin.models.facebn import MODES

# numpy's limit, which arcface_torch's loop meets; the sampled head's seeds would overflow beyond it.
LARGEST_SEED = 2**32 - 1
# Ten years, in seconds; torch counts in nanoseconds of 64 bits.
LONGEST_TIMEOUT = 315_360_000


@dataclass(frozen=True)
class RunConfig:
    """output: the run folder. resume: continue from its newest checkpoint if there is one; False starts again. resume_from: None,
    or the folder of another run: this one starts from the student and the class centers of its newest checkpoint, with a
    schedule of its own (training/resume_from.py).

    identity_weight: weight of the margin loss; 0 without labels. save_steps: steps between checkpoints, 0 for once an epoch.
    frequent: steps between lines of metrics.jsonl. gradient_diagnostics: 0, or N: every N-th line also has norm and direction of
    each term's gradient (gradient_diagnostics.py). verbose: steps between verifications on val_targets, 0 for none before the
    end. facebn: None, or a mode in which each verification is repeated with FaceBN; keep: weight of the old statistics (the
    paper: 0.1); include_bn1d: FaceBN adapts BatchNorm1d too.
    fp16, bf16: autocast of the student on CUDA (bf16 on a CPU with AVX-512 too). compile: torch.compile the student (a minute at
    the start; on a CPU it needs a C++ compiler). deterministic: the same bits on the same machine (deterministic.py); a run does
    not resume with other threads, ranks or another PyTorch. device: "auto", "cpu" or "cuda". rank_timeout:
    seconds after which ranks that wait for one another time out and report the one that does not respond.
    """

    output: str = ""
    seed: int = 0
    resume: bool = True
    resume_from: str | None = None
    identity_weight: float = 1.0
    save_steps: int = 0
    frequent: int = 10
    gradient_diagnostics: int = 0
    verbose: int = 0
    val_targets: tuple = ()
    val_protocols: tuple = PROTOCOLS
    facebn: str | None = None
    keep: float = 0.9
    include_bn1d: bool = False
    fp16: bool = False
    bf16: bool = False
    compile: bool = False
    deterministic: bool = False
    device: str = "auto"
    rank_timeout: float = 1800.0

    def __post_init__(self):
        if not self.output:
            raise ValueError("output names the run folder, for example output=runs/aird")
        at_least(self, 1, "frequent")
        at_least(self, 0, "save_steps", "verbose", "identity_weight", "gradient_diagnostics")
        between(self, 0, LARGEST_SEED, "seed")
        if self.fp16 and self.bf16:
            raise ValueError("fp16 and bf16 exclude each other; set one of them")
        if not 0 < self.rank_timeout <= LONGEST_TIMEOUT:
            raise ValueError(f"rank_timeout is in seconds, above 0, at most {LONGEST_TIMEOUT:,}; got {self.rank_timeout!r}")
        if self.device not in ("auto", "cpu", "cuda"):
            raise ValueError(f"device is auto, cpu or cuda; got {self.device!r}")
        for target in self.val_targets:
            if not isinstance(target, str) or not target:
                raise ValueError(f"val_targets are paths of .bin files, or () for no verification; got {target!r}")
        if self.facebn not in (None, *MODES):
            raise ValueError(f"facebn is None or one of {', '.join(MODES)}; got {self.facebn!r}")
        if not 0 <= self.keep <= 1:
            raise ValueError(f"keep is the weight of the old statistics, 0 to 1; got {self.keep!r}")
        for protocol in self.val_protocols:
            if protocol not in PROTOCOLS:
                raise ValueError(f"val_protocols are of {', '.join(PROTOCOLS)}; got {protocol!r}")

    @property
    def checkpoints(self) -> str:
        return os.path.join(self.output, "checkpoints")
