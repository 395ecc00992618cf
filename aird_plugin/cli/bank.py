"""`aird bank`: build the caches of a recipe ahead of the run. Heavy imports are inside the function."""

import argparse

from aird_plugin.cli.recipe_arguments import add_recipe_arguments as add_arguments

__all__ = ["add_arguments", "run"]


def run(args: argparse.Namespace) -> int:
    """Build the bank of a recipe: image caches, teacher cache, features of a prior. Existing caches are checked.

    Raises ValueError or OSError if recipe, images and bank do not fit together.
    """
    from aird_plugin.config.recipe import load
    from aird_plugin.data.degradation import BICUBIC
    from aird_plugin.prior.dataset import both_sizes
    from aird_plugin.training.data import open_caches, open_faces
    from aird_plugin.training.inputs import check_inputs
    from aird_plugin.training.prior_features import open_encoder, open_features
    from aird_plugin.utils.devices import pick_device

    recipe = load(args.recipe, args.overrides)
    check_inputs(recipe, verification=False)
    device = pick_device(recipe.run.device)
    records, recipe = open_faces(recipe)
    parts = [] if recipe.bank.online else recipe.sizes.parts(recipe.data.px, recipe.data.degradation)
    if recipe.prior.prior_side:
        both_sizes(recipe, records)
        parts.append((recipe.prior.prior_side, BICUBIC))
    teacher = recipe.teacher.load(device.type)
    open_caches(recipe, records, teacher, device)
    if encoder := open_encoder(recipe, device):
        print(f"generative features {encoder.shape}: {len(open_features(recipe, records, encoder).features_NVCHW)} images")
    for part in parts:
        print(f"{recipe.bank.low_folder(*part)}: {len(records)} images")
    if teacher:
        print(f"{recipe.bank.teacher_folder}: {len(records)} images, {recipe.bank.views} views, width {teacher.dim}")
    return 0
