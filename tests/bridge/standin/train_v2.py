"""A stand-in for an arcface_torch checkout, to test the bridge without one.

Same names and signatures as deepinsight/insightface recognition/arcface_torch, none of its code: each file reproduces what
a caller can observe (modules, classes, arguments, attributes, the order of calls, files and log lines) in few lines, with
one toy backbone and without wandb, DALI, scikit-learn and SciPy.
"""

import argparse
import logging
import os

import torch
from backbones import get_model
from dataset import get_dataloader
from losses import CombinedMarginLoss
from lr_scheduler import PolynomialLRWarmup
from partial_fc_v2 import PartialFC_V2
from torch import distributed
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import fp16_compress_hook
from torch.utils.data import DataLoader
from torch.utils.tensorboard import SummaryWriter
from utils.utils_callbacks import CallBackLogging, CallBackVerification
from utils.utils_config import get_config
from utils.utils_distributed_sampler import setup_seed
from utils.utils_logging import AverageMeter, init_logging

try:
    rank, local_rank, world_size = (int(os.environ[name]) for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"))
    distributed.init_process_group("nccl")
except KeyError:
    rank, local_rank, world_size = 0, 0, 1
    distributed.init_process_group(backend="nccl", init_method="tcp://127.0.0.1:12584", rank=rank, world_size=world_size)


def main(args):
    cfg = get_config(args.config)
    setup_seed(seed=cfg.seed, cuda_deterministic=False)
    torch.cuda.set_device(local_rank)
    os.makedirs(cfg.output, exist_ok=True)
    init_logging(rank, cfg.output)
    board = SummaryWriter(log_dir=os.path.join(cfg.output, "tensorboard")) if rank == 0 else None
    if cfg.using_wandb:
        raise NotImplementedError("the stand-in has no wandb")

    train_loader = get_dataloader(cfg.rec, local_rank, cfg.batch_size, cfg.dali, cfg.dali_aug, cfg.seed, cfg.num_workers)
    net = get_model(cfg.network, dropout=0.0, fp16=cfg.fp16, num_features=cfg.embedding_size).cuda()
    net = torch.nn.parallel.DistributedDataParallel(
        module=net, broadcast_buffers=False, device_ids=[local_rank], bucket_cap_mb=16, find_unused_parameters=True
    )
    net.register_comm_hook(None, fp16_compress_hook)
    net.train()
    net._set_static_graph()

    margin = CombinedMarginLoss(64, *(cfg.margin_list[i] for i in range(3)), cfg.interclass_filtering_threshold)
    if cfg.optimizer not in ("sgd", "adamw"):
        raise
    head = PartialFC_V2(margin, cfg.embedding_size, cfg.num_classes, cfg.sample_rate, False)
    head.train().cuda()
    groups = [{"params": net.parameters()}, {"params": head.parameters()}]
    if cfg.optimizer == "sgd":
        optimizer = torch.optim.SGD(params=groups, lr=cfg.lr, momentum=0.9, weight_decay=cfg.weight_decay)
    else:
        optimizer = torch.optim.AdamW(params=groups, lr=cfg.lr, weight_decay=cfg.weight_decay)

    cfg.total_batch_size = cfg.batch_size * world_size
    cfg.warmup_step = cfg.num_image // cfg.total_batch_size * cfg.warmup_epoch
    cfg.total_step = cfg.num_image // cfg.total_batch_size * cfg.num_epoch
    schedule = PolynomialLRWarmup(optimizer=optimizer, warmup_iters=cfg.warmup_step, total_iters=cfg.total_step)

    parts = {
        "state_dict_backbone": net.module,
        "state_dict_softmax_fc": head,
        "state_optimizer": optimizer,
        "state_lr_scheduler": schedule,
    }
    state_file = os.path.join(cfg.output, f"checkpoint_gpu_{rank}.pt")
    weights_file = os.path.join(cfg.output, "model.pt")
    first_epoch, step = 0, 0
    if cfg.resume:
        saved = torch.load(state_file)
        first_epoch, step = saved["epoch"], saved["global_step"]
        for key, part in parts.items():
            part.load_state_dict(saved[key])

    for key, value in cfg.items():
        logging.info(f": {key:<25}{value!s}")
    verify = CallBackVerification(val_targets=cfg.val_targets, rec_prefix=cfg.rec, summary_writer=board, wandb_logger=None)
    report = CallBackLogging(
        frequent=cfg.frequent, total_step=cfg.total_step, batch_size=cfg.batch_size, start_step=step, writer=board
    )
    meter = AverageMeter()
    scaler = torch.cuda.amp.grad_scaler.GradScaler(growth_interval=100)

    for epoch in range(first_epoch, cfg.num_epoch):
        if isinstance(train_loader, DataLoader):
            train_loader.sampler.set_epoch(epoch)
        for img, local_labels in train_loader:
            step += 1
            loss = head(net(img), local_labels)
            (scaler.scale(loss) if cfg.fp16 else loss).backward()
            if step % cfg.gradient_acc == 0:
                if cfg.fp16:
                    scaler.unscale_(optimizer)
                torch.nn.utils.clip_grad_norm_(net.parameters(), 5)
                if cfg.fp16:
                    scaler.step(optimizer)
                    scaler.update()
                else:
                    optimizer.step()
                optimizer.zero_grad()
            schedule.step()
            with torch.no_grad():
                meter.update(loss.item(), 1)
                report(step, meter, epoch, cfg.fp16, schedule.get_last_lr()[0], scaler)
                if step % cfg.verbose == 0 and step > 0:
                    verify(step, net)

        if cfg.save_all_states:
            states = {key: part.state_dict() for key, part in parts.items()}
            torch.save({"epoch": epoch + 1, "global_step": step, **states}, state_file)
        if rank == 0:
            torch.save(net.module.state_dict(), weights_file)
        if cfg.dali:
            train_loader.reset()
    if rank == 0:
        torch.save(net.module.state_dict(), weights_file)


if __name__ == "__main__":
    torch.backends.cudnn.benchmark = True
    parser = argparse.ArgumentParser()
    parser.add_argument("config", type=str)
    main(parser.parse_args())
