"""What a recipe may ask of the embedded host alone."""

from aird_plugin.recipe import Recipe


def refuse_sizes(recipe: Recipe) -> None:
    """ValueError for several sizes that arcface_torch's loop cannot carry: it hands images and labels, no more, to the head."""
    sizes = recipe.sizes
    asked = {"also_px": sizes.also_px, "margin_small": sizes.margin_small is not None}
    if recipe.bridge.reader == "upstream":
        asked |= {"px_range": sizes.px_range, "faces_per_person": sizes.faces_per_person > 1}
    for key, wanted in asked.items():
        if wanted:
            where = "with reader='upstream'" if key in ("px_range", "faces_per_person") else ""
            told = f"{key}={getattr(sizes, key)!r} does not run inside arcface_torch {where}".rstrip()
            raise ValueError(f"{told}; train without --arcface-torch" + (" or with reader='bank'" if where else ""))
