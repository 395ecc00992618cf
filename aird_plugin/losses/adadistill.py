"""AdaDistill (arXiv 2407.01332): class centers are not trained; the teacher's embeddings update them.

The formula follows the authors' code (fdbtrs/AdaDistill utils/losses.py): the centers are updated first and then enter the margin
softmax (s = 64, m = 0.45 there). If a batch holds several images of an identity, the authors' code keeps the last write; here the
center becomes the mean of the individual updates, which depends on neither order nor ranks.

G = images on all ranks, H = those whose class is on this rank, C = classes on this rank, K = classes in the batch, D = embedding
width, the same for both networks.
"""

import torch
from torch.nn import functional as F

MIN_KEEP, MAX_KEEP = 1e-6, 1.0


def moved_centers(
    centers_CD: torch.Tensor, label_G: torch.Tensor, student_GD: torch.Tensor, teacher_GD: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Classes that a batch updates, int64 (K,), and their new centers, (K, D). Without gradient.

    for each image of class y:
        a = clamp(cos(f_s, f_t) * clamp(cos(W_y, f_t), 1e-6, 1), 1e-6, 1)
        W_y <- a * W_y + (1 - a) * f_t / |f_t|

    Where student and teacher agree, the center stays; where they do not yet agree, the teacher's embedding of the image becomes
    the target. label_G: -1 for images whose class is on another rank; they update nothing.
    Raises ValueError where the widths differ.
    """
    if not centers_CD.shape[1] == student_GD.shape[1] == teacher_GD.shape[1]:
        widths = ", ".join(str(x.shape[1]) for x in (centers_CD, student_GD, teacher_GD))
        raise ValueError(f"AdaDistill needs one width of centers, student and teacher; got {widths}")
    here_G = label_G >= 0
    label_H, teacher_HD = label_G[here_G], F.normalize(teacher_GD.detach()[here_G], dim=1)
    old_HD = centers_CD.detach()[label_H]
    center_cosine_H = F.cosine_similarity(old_HD, teacher_HD, dim=1).clamp(MIN_KEEP, MAX_KEEP)
    agreement_H = F.cosine_similarity(student_GD.detach()[here_G], teacher_HD, dim=1)
    keep_H1 = (agreement_H * center_cosine_H).clamp(MIN_KEEP, MAX_KEEP)[:, None]
    new_HD = keep_H1 * old_HD + (1 - keep_H1) * teacher_HD
    class_K, index_H, count_K = label_H.unique(return_inverse=True, return_counts=True)
    total_KD = new_HD.new_zeros(len(class_K), new_HD.shape[1]).index_add(0, index_H, new_HD)
    return class_K, total_KD / count_K[:, None]
