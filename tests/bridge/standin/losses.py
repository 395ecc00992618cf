import torch


class CombinedMarginLoss(torch.nn.Module):
    """Margins on the target cosines, applied to the logits in place; for ArcFace without autograd."""

    def __init__(self, s, m1, m2, m3, interclass_filtering_threshold=0):
        super().__init__()
        self.s = s
        self.m1, self.m2, self.m3 = m1, m2, m3
        self.interclass_filtering_threshold = interclass_filtering_threshold

    def forward(self, logits, labels):
        rows = (labels != -1).view(-1).nonzero()[:, 0]
        target = rows, labels[rows, 0]
        if self.interclass_filtering_threshold > 0:
            keep = logits.detach() <= self.interclass_filtering_threshold
            keep[target] = True
            logits = logits * keep
        if self.m1 == 1.0 and self.m3 == 0.0:
            with torch.no_grad():
                logits.arccos_()
                logits[target] += self.m2
                logits.cos_()
        elif self.m3 > 0:
            logits[target] -= self.m3
        else:
            raise
        return logits * self.s
