"""AdaDistill (arXiv 2407.01332): class centres that are not trained but moved by the teacher's embeddings.

The formula is read off the authors' code (fdbtrs/AdaDistill utils/losses.py): centres move first, then stand in the margin
softmax (s = 64, m = 0.45 there). One of several faces of one person in a batch wins there, whichever is written last; here the
person's centre becomes the mean of what each of them would have made of it, which depends on neither order nor ranks.

G = faces on all ranks, H = those whose class this rank holds, C = classes on this rank, K = those met in the batch, D = embedding
width, the same for both networks.
"""

import torch
from torch.nn import functional as F

LEAST, MOST = 1e-6, 1.0


def moved_centres(centres_CD: torch.Tensor, label_G: torch.Tensor, student_GD, teacher_GD) -> tuple[torch.Tensor, torch.Tensor]:
    """Which centres a batch moves, int64 (K,), and where to, (K, D). Without gradient.

    for each face of class y:
        a = clamp(cos(f_s, f_t) * clamp(cos(W_y, f_t), 1e-6, 1), 1e-6, 1)
        W_y <- a * W_y + (1 - a) * f_t / |f_t|

    Where the student agrees with the teacher the centre stays; where it does not yet, the teacher's embedding of the face itself
    becomes the target. label_G: -1 for faces whose class lies on another rank; they move nothing.
    Raises ValueError where the widths differ.
    """
    if not centres_CD.shape[1] == student_GD.shape[1] == teacher_GD.shape[1]:
        widths = ", ".join(str(x.shape[1]) for x in (centres_CD, student_GD, teacher_GD))
        raise ValueError(f"AdaDistill needs one width of centres, student and teacher; got {widths}")
    here_G = label_G >= 0
    label_H, teacher_HD = label_G[here_G], F.normalize(teacher_GD.detach()[here_G], dim=1)
    old_HD = centres_CD.detach()[label_H]
    nearness_H = F.cosine_similarity(old_HD, teacher_HD, dim=1).clamp(LEAST, MOST)
    agreement_H = F.cosine_similarity(student_GD.detach()[here_G], teacher_HD, dim=1)
    keep_H1 = (agreement_H * nearness_H).clamp(LEAST, MOST)[:, None]
    new_HD = keep_H1 * old_HD + (1 - keep_H1) * teacher_HD
    class_K, place_H, count_K = label_H.unique(return_inverse=True, return_counts=True)
    total_KD = new_HD.new_zeros(len(class_K), new_HD.shape[1]).index_add(0, place_H, new_HD)
    return class_K, total_KD / count_K[:, None]
