"""The ablation of AIRD by factors: class centers x terms, with one identity weight. One recipe, and overrides for each cell.

RID "as published": R_t and R_ts as two networks, CRD's estimator, an anchor of the same identity. "literal": equation 4 as
printed, a negative control. "mutual": relations as distributions over anchors. LOO: each image left out of its own center.
"""

from tools.lib.method import Method

RECIPE = "faces15k_aird_factors"
CENTERS = ("trained", "frozen")
BASELINE = "cls"
IID, RID = "'iid': 'aird_plugin.losses.instance:IID'", "'rid': 'aird_plugin.losses.relation:RID'"
ALIGN = "'align': 'aird_plugin.losses.cosine:CosineRegression'"
PUBLISHED = ["rid_contrast=nce", "rid_weight=2.0", "rid_negatives=64"]
# Terms -> overrides of the recipe. The second group has further factors.
TERMS = {
    BASELINE: ["terms={}"],
    "IID": [f"terms={{{IID}}}"],
    "RID as published": [f"terms={{{RID}}}", *PUBLISHED],
    "RID mutual": [f"terms={{{RID}}}"],
    "IID + RID mutual": [],
}
FURTHER = {
    "IID LOO": [f"terms={{{IID}}}", "iid_leave_one_out=True"],
    "IID LOO at 8": [f"terms={{{IID}}}", "iid_leave_one_out=True", "iid_scale=8.0"],
    "IID LOO + RID mutual": ["iid_leave_one_out=True"],
    "RID literal": [f"terms={{{RID}}}", "rid_contrast=literal", "rid_weight=2.0"],
    "IID + RID as published": PUBLISHED,
    "cosine": [f"terms={{{ALIGN}}}", "align_weight=8.0"],
    "IID + RID mutual + cosine": [f"terms={{{IID}, {RID}, {ALIGN}}}", "align_weight=8.0"],
}


def name_of(terms: str, centers: str) -> str:
    """The name of a cell, of its run folder and its row."""
    return f"{terms}, {centers} centers"


def factor_methods() -> dict[str, Method]:
    """Every cell by name; each is tested against the identity loss alone with the same centers, and that of frozen centers
    against that of trained ones."""
    methods = {}
    for group, cells in (("factors", TERMS), ("factors-more", FURTHER)):
        for centers in CENTERS:
            for terms, keys in cells.items():
                reference = name_of(BASELINE, CENTERS[0] if terms == BASELINE else centers)
                name = name_of(terms, centers)
                methods[name] = Method(
                    [(RECIPE, [f"centers={centers}", *keys])],
                    group=group,
                    seeds=3,
                    against=reference if reference != name else None,
                    factors={"centers": centers, "terms": terms},
                )
    return methods
