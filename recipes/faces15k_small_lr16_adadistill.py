"""Rival: AdaDistill (arXiv 2407.01332): class centres moved by the teacher's embeddings, margin softmax on them, nothing else.

Its siblings' margin of 0.3 and scale of 32 for the authors' 0.45 and 64. Centres begin at the teacher's, as its siblings' do; the
authors begin at random and overwrite each with the first teacher embedding of its class.
"""

from aird_plugin.recipe import base, drop_terms

config = base(__file__, "faces15k_small_lr16")
drop_terms(config, "iid", "rid")
config.head_adaptive = True
config.output = "runs/faces15k_small_lr16_adadistill"
