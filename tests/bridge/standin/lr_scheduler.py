import warnings

from torch.optim.lr_scheduler import _LRScheduler


class PolynomialLRWarmup(_LRScheduler):
    def __init__(self, optimizer, warmup_iters, total_iters=5, power=1.0, last_epoch=-1, verbose=False):
        super().__init__(optimizer, last_epoch=last_epoch, verbose=verbose)
        self.total_iters = total_iters
        self.power = power
        self.warmup_iters = warmup_iters

    def get_lr(self):
        if not self._get_lr_called_within_step:
            warnings.warn("use `get_last_lr()`", UserWarning, stacklevel=2)
        now, rates = self.last_epoch, [group["lr"] for group in self.optimizer.param_groups]
        if now == 0 or now > self.total_iters:
            return rates
        if now <= self.warmup_iters:
            return [base * now / self.warmup_iters for base in self.base_lrs]
        left = self.total_iters - now
        return [rate * (left / (left + 1)) ** self.power for rate in rates]
