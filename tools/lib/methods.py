"""The methods that bench_methods.py compares: recipes and overrides. A method's name also names its run folders."""

from tools.lib.aird_factors import factor_methods
from tools.lib.method import Method

SMALL = "faces15k_small_lr16"
AIRD, COSINE = "AIRD", "cosine regression"


def variant(suffix: str, *overrides: str, **about) -> Method:
    """A method that is one recipe of the family."""
    return Method([(f"{SMALL}{suffix}", list(overrides))], **about)


PRIOR, STAGE1 = "faces15k_gdrd_prior", (f"{SMALL}_gdrd_stage1", ["prior={first}"])
METHODS = {
    "low-from-scratch": variant("_scratch", seeds=3, teachers_space=False),
    "cls": variant("_cls", seeds=3),
    AIRD: variant("", seeds=3),
    "AIRD + alignment": variant("_align", seeds=3),
    "Bridge Distillation": variant("_bridge", seeds=3),
    "CCFace": variant("_ccface", seeds=3),
    "GDRD": Method([STAGE1, (f"{SMALL}_gdrd", ["student_init={previous}/model.pt"])], seeds=3, first=PRIOR),
    COSINE: variant("_cosine", seeds=3),
    "KD": variant("_kd", seeds=3),
    "DKD": variant("_dkd", seeds=3),
    "F-KD": variant("_fkd"),
    "RKD": variant("_rkd"),
    "CRD": variant("_crd"),
    "HORKD": variant("_horkd"),
    "RPCL": variant("_rpcl"),
    "MagFace": variant("_magface"),
    "AdaFace": variant("_adaface"),
    "AdaDistill": variant("_adadistill", seeds=3),
    "octuplet": variant("_octuplet"),
    "Deep Siamese": variant("_siamese"),
    "AT": variant("_at"),
    "FitNet": variant("_fitnet"),
    "A-SKD": variant("_askd"),
    "F-SKD": variant("_fskd"),
    "cls + IID": variant("_iid", group="ablation", seeds=3),
    "cls + RID": variant("_rid", group="ablation", seeds=3),
    "AIRD, random class centres": variant("", "head_init=random", group="ablation", seeds=3, teachers_space=False),
    "AIRD, 2 views": variant("", "views=2", group="ablation"),
    "AIRD, RID as InfoNCE": variant("", "rid_contrast=infonce", group="ablation"),
    "GDRD, random trunk": variant("_gdrd", "student_init=None", group="gdrd"),
    "GDRD, fine-tuned": Method(
        [STAGE1, (f"{SMALL}_gdrd", ["student_init={previous}/model.pt", "freeze=None"])], group="gdrd", first=PRIOR
    ),
    "GDRD, recogniser's features": Method(
        [(f"{SMALL}_cosine", []), (f"{SMALL}_gdrd", ["student_init={previous}/model.pt"])], group="gdrd"
    ),
    "all sizes": Method([("faces15k_small_allsizes", [])], group="sizes"),
    "all sizes, as long as three": Method([("faces15k_small_allsizes", ["num_epoch=30"])], group="sizes"),
    "16 to 64 px, as long as three": Method([("faces15k_small_allsizes", ["num_epoch=30", "px_range=(16, 64)"])], group="sizes"),
    "all sizes, margin by size": Method([("faces15k_small_allsizes", ["margin_small=0.2"])], group="sizes"),
    "16 px alone": Method([("faces15k_small32_lr16", [])], group="sizes"),
    "32 px alone": Method([("faces15k_small32_lr32", [])], group="sizes"),
    "64 px alone": Method([("faces15k_small32_lr64", [])], group="sizes"),
    "realworld": variant("_realworld", group="sizes"),
    # These three recipes set identity_weight=0.1; with the weight of the others:
    "AIRD + alignment, identity 1": variant("_align", "identity_weight=1.0", group="ablation", seeds=3),
    "cosine regression, identity 1": variant("_cosine", "identity_weight=1.0", group="ablation", seeds=3),
    "Bridge Distillation, identity 1": variant("_bridge", "identity_weight=1.0", group="ablation", seeds=3),
} | factor_methods()
