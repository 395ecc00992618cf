"""AgeDB-30 at 16 px, the AIRD paper's second test (arXiv 2409.02049, table III), for any trained student.

    aird evaluate runs/aird_r18_lr16 --recipe recipes/agedb30_lr16.py --pairs agedb_30.bin

6,000 pairs in ten folds: both images LR (LR-LR), and only the first one LR (LR-HR); without adaptation, with centered embeddings
(the control for FaceBN), and with the paper's FaceBN. Published, LR-LR / LR-HR: ArcFace 77.75/52.83, A-SKD 79.00/65.08, AIRD
without FaceBN 79.85/-, AIRD 80.45/66.25. The paper uses the best threshold over all pairs (the column `best`), InsightFace ten
folds (`accuracy`). The recipe expects the file beside CASIA-WebFace. As a training recipe this is AIRD as published, with
AgeDB-30 as the only verification set.
"""

from aird_plugin.recipe import base, data_path

config = base(__file__, "aird_r18_lr16_published")
config.val_targets = (data_path("faces_webface_112x112", "agedb_30.bin"),)
config.output = "runs/agedb30_lr16"
