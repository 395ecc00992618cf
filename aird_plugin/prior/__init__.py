"""A diffusion model that makes faces large: training one, and asking its encoder as a generative teacher."""
