"""A diffusion model for face super-resolution: its training, and its encoder as a generative teacher."""
