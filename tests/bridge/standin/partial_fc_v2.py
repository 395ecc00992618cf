from collections.abc import Callable

import torch
from torch import distributed
from torch.nn.functional import linear, normalize


class PartialFC_V2(torch.nn.Module):
    _version = 2

    def __init__(
        self, margin_loss: Callable, embedding_size: int, num_classes: int, sample_rate: float = 1.0, fp16: bool = False
    ):
        super(PartialFC_V2, self).__init__()  # noqa: UP008 - by its global name, as the real one
        assert distributed.is_initialized()
        self.rank, self.world_size = distributed.get_rank(), distributed.get_world_size()
        self.dist_cross_entropy = DistCrossEntropy()
        self.embedding_size = embedding_size
        self.sample_rate = sample_rate
        self.fp16 = fp16
        share, rest = divmod(num_classes, self.world_size)
        self.num_local = share + int(self.rank < rest)
        self.class_start = share * self.rank + min(self.rank, rest)
        self.num_sample = int(sample_rate * self.num_local)
        self.last_batch_size = 0
        self.weight = torch.nn.Parameter(torch.normal(0, 0.01, (self.num_local, embedding_size)))
        if not isinstance(margin_loss, Callable):
            raise
        self.margin_softmax = margin_loss

    def sample(self, labels, index_positive):
        index = torch.unique(labels[index_positive]).cuda()
        if len(index) <= self.num_sample:
            chance = torch.rand(self.num_local).cuda()
            chance[index] = 2.0
            index = chance.topk(self.num_sample).indices.sort().values.cuda()
        self.weight_index = index
        labels[index_positive] = torch.searchsorted(index, labels[index_positive])
        return self.weight[index]

    def forward(self, local_embeddings: torch.Tensor, local_labels: torch.Tensor):
        local_labels.squeeze_()
        local_labels = local_labels.long()
        count = len(local_embeddings)
        self.last_batch_size = self.last_batch_size or count
        assert self.last_batch_size == count, f"batch of {count} after batches of {self.last_batch_size}"

        room = [torch.zeros(count, self.embedding_size).cuda() for _ in range(self.world_size)]
        embeddings = torch.cat(AllGather(local_embeddings, *room))
        room = [torch.zeros(count).long().cuda() for _ in range(self.world_size)]
        distributed.all_gather(room, local_labels)
        labels = torch.cat(room)[:, None] - self.class_start
        index_positive = (labels >= 0) & (labels < self.num_local)
        labels[~index_positive] = -1

        weight = self.sample(labels, index_positive) if self.sample_rate < 1 else self.weight
        with torch.cuda.amp.autocast(self.fp16):
            logits = linear(normalize(embeddings), normalize(weight))
        logits = (logits.float() if self.fp16 else logits).clamp(-1, 1)
        return self.dist_cross_entropy(self.margin_softmax(logits, labels), labels)


class DistCrossEntropyFunc(torch.autograd.Function):
    """Cross-entropy over columns distributed over the ranks; overwrites the logits with the probabilities."""

    @staticmethod
    def forward(ctx, logits: torch.Tensor, label: torch.Tensor):
        top = logits.amax(1, keepdim=True)
        distributed.all_reduce(top, distributed.ReduceOp.MAX)
        logits.sub_(top).exp_()
        total = logits.sum(1, keepdim=True)
        distributed.all_reduce(total, distributed.ReduceOp.SUM)
        logits.div_(total)
        rows = torch.where(label != -1)[0]
        likely = torch.zeros(len(logits), 1, device=logits.device)
        likely[rows, 0] = logits[rows, label[rows, 0]]
        distributed.all_reduce(likely, distributed.ReduceOp.SUM)
        ctx.save_for_backward(rows, logits, label)
        return -likely.clamp_min_(1e-30).log_().mean()

    @staticmethod
    def backward(ctx, loss_gradient):
        rows, logits, label = ctx.saved_tensors
        logits[rows, label[rows, 0]] -= 1
        return logits.div_(len(logits)) * loss_gradient.item(), None


class DistCrossEntropy(torch.nn.Module):
    def forward(self, logit_part, label_part):
        return DistCrossEntropyFunc.apply(logit_part, label_part)


class AllGatherFunc(torch.autograd.Function):
    """All-gather; the gradient is summed over the ranks and multiplied by their number."""

    @staticmethod
    def forward(ctx, tensor, *gather_list):
        distributed.all_gather(list(gather_list), tensor)
        return gather_list

    @staticmethod
    def backward(ctx, *grads):
        for owner, grad in enumerate(grads):
            distributed.reduce(grad, owner, distributed.ReduceOp.SUM)
        return grads[distributed.get_rank()].mul_(len(grads)), *[None] * len(grads)


AllGather = AllGatherFunc.apply
