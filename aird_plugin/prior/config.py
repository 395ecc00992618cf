"""Recipe keys of the generative prior: which one is used, and how to train one."""

from dataclasses import dataclass

LAYERS = ("down", "mid")
WIDTH_STEP = 8


@dataclass(frozen=True)
class PriorConfig:
    """prior: None, or the folder of a diffusion model in diffusers' format (unet/ and scheduler/), whose encoder is used.

    prior_timestep: the noise level given to the encoder, from 0 to below the schedule's steps. prior_layer: where the features
    are taken, after the "down" path or after the "mid" block.

    A recipe with prior_side above 0 trains a prior and no student: prior_side is the side of the images it generates,
    prior_widths the channels at each level (sides halve from level to level), prior_blocks the residual blocks per level of
    the down path, prior_ema the decay of the averaged weights that are saved. At the end prior_pictures images are upsampled in
    prior_sampling_steps steps, for inspection.
    """

    prior: str | None = None
    prior_timestep: int = 100
    prior_layer: str = "mid"
    prior_side: int = 0
    prior_widths: tuple = (32, 64, 128, 128)
    prior_blocks: int = 1
    prior_ema: float = 0.9999
    prior_pictures: int = 12
    prior_sampling_steps: int = 25

    def __post_init__(self):
        if self.prior_layer not in LAYERS:
            raise ValueError(f"prior_layer is one of {', '.join(LAYERS)}; got {self.prior_layer!r}")
        if not self.prior_widths or not all(
            isinstance(width, int) and width > 0 and width % WIDTH_STEP == 0 for width in self.prior_widths
        ):
            raise ValueError(f"prior_widths are multiples of {WIDTH_STEP}, one a level; got {self.prior_widths!r}")
        factor = 2 ** (len(self.prior_widths) - 1)
        if self.prior_side < 0 or self.prior_side % factor:
            raise ValueError(
                f"prior_side is a multiple of {factor}, halved by {len(self.prior_widths)} prior_widths; got {self.prior_side!r}"
            )
        for key in ("prior_blocks", "prior_sampling_steps", "prior_pictures"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key} must be 1 or more; got {getattr(self, key)!r}")
        if self.prior_timestep < 0:
            raise ValueError(f"prior_timestep must be 0 or more; got {self.prior_timestep!r}")
        if not 0 <= self.prior_ema < 1:
            raise ValueError(f"prior_ema is from 0 to below 1; got {self.prior_ema!r}")
