"""`aird bank`: build every part of a recipe's bank ahead of the run. Heavy imports stand inside the function."""

import argparse


def run(args: argparse.Namespace) -> int:
    """Build what is missing and name each part. Raises ValueError or OSError where recipe, faces and bank do not fit."""
    from aird_plugin.data.degrade import BICUBIC
    from aird_plugin.inputs import check_inputs
    from aird_plugin.lesson import pick_device
    from aird_plugin.lesson_data import open_banks, open_faces
    from aird_plugin.lesson_prior import open_encoder, open_features
    from aird_plugin.models.load import load_teacher
    from aird_plugin.prior.source import both_sizes
    from aird_plugin.recipe import load

    recipe = load(args.recipe, args.overrides)
    check_inputs(recipe, verification=False)
    device = pick_device(recipe.run.device)
    records, recipe = open_faces(recipe)
    parts = [] if recipe.bank.online else recipe.sizes.parts(recipe.data.px, recipe.data.degradation)
    if recipe.prior.prior_side:
        both_sizes(recipe, records)
        parts.append((recipe.prior.prior_side, BICUBIC))
    source = recipe.teacher
    teacher = load_teacher(source.teacher, source.teacher_network, device.type) if source.teacher else None
    open_banks(recipe, records, teacher, device)
    if encoder := open_encoder(recipe, device):
        print(f"generative features {encoder.shape}: {len(open_features(recipe, records, encoder).features_NVCHW)} faces")
    for part in parts:
        print(f"{recipe.bank.low_folder(*part)}: {len(records)} faces")
    if teacher:
        print(f"{recipe.bank.teacher_folder}: {len(records)} faces, {recipe.bank.views} views, width {teacher.dim}")
    return 0
