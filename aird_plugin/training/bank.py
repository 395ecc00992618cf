"""The whole bank of a recipe, built ahead of the run."""

from aird_plugin.config.recipe import Recipe
from aird_plugin.data.bank.files import check_own_sums
from aird_plugin.data.degradation import BICUBIC
from aird_plugin.diagnostics.images import check_left_out
from aird_plugin.prior.dataset import both_sizes
from aird_plugin.training.data import open_caches, open_faces
from aird_plugin.training.inputs import check_inputs
from aird_plugin.training.prior_features import open_encoder, open_features
from aird_plugin.utils.counts import counted
from aird_plugin.utils.devices import pick_device


def build_bank(recipe: Recipe) -> list[str]:
    """Build a recipe's image caches, teacher cache and features of a prior, and check those that exist.

    Files of which a start verifies only some are all verified, by the ranks of torchrun together. Returns a line on each cache:
    its folder or shape, and its number of images. Raises ValueError or OSError if recipe, images and bank do not fit together.
    """
    check_inputs(recipe, verification=False)
    device = pick_device(recipe.run.device)
    records, recipe = open_faces(recipe, reread=True)
    sections = [] if recipe.bank.online else recipe.sizes.parts(recipe.data.px, recipe.data.degradation)
    if recipe.prior.prior_side:
        both_sizes(recipe, records)
        sections.append((recipe.prior.prior_side, BICUBIC))
    teacher = recipe.teacher.load(device.type)
    open_caches(recipe, records, teacher, device)
    folders = [recipe.bank.low_folder(*section) for section in sections] + ([recipe.bank.teacher_folder] if teacher else [])
    for folder in folders:
        check_own_sums(folder)
    lines = []
    if encoder := open_encoder(recipe, device):
        features_NVCHW = open_features(recipe, records, encoder).features_NVCHW
        lines.append(f"generative features {encoder.shape}: {counted(len(features_NVCHW), 'image')}")
    lines += [f"{recipe.bank.low_folder(*section)}: {counted(len(records), 'image')}" for section in sections]
    if teacher:
        images, views = counted(len(records), "image"), counted(recipe.bank.views, "view")
        lines.append(f"{recipe.bank.teacher_folder}: {images}, {views}, width {teacher.dim}")
    lines += [str(diagnostic) for diagnostic in check_left_out(records)]
    return lines
