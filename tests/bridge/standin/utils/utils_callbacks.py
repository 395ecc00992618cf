import logging
import os
import time

from eval import verification
from torch import distributed


class CallBackVerification:
    def __init__(self, val_targets, rec_prefix, summary_writer=None, image_size=(112, 112), wandb_logger=None):
        self.rank = distributed.get_rank()
        self.highest_acc = 0.0
        self.highest_acc_list = [0.0] * len(val_targets)
        self.ver_list = []
        self.ver_name_list = []
        if self.rank == 0:
            self.init_dataset(val_targets=val_targets, data_dir=rec_prefix, image_size=image_size)
        self.summary_writer = summary_writer
        self.wandb_logger = wandb_logger

    def init_dataset(self, val_targets, data_dir, image_size):
        for name in val_targets:
            path = os.path.join(data_dir, f"{name}.bin")
            if os.path.exists(path):
                self.ver_list.append(verification.load_bin(path, image_size))
                self.ver_name_list.append(name)

    def ver_test(self, backbone, global_step):
        for i in range(len(self.ver_list)):
            name = self.ver_name_list[i]
            _, _, acc2, std2, xnorm, _ = verification.test(self.ver_list[i], backbone, 10, 10)
            logging.info(f"[{name}][{global_step}]XNorm: {xnorm:f}")
            logging.info(f"[{name}][{global_step}]Accuracy-Flip: {acc2:1.5f}+-{std2:1.5f}")
            self.summary_writer.add_scalar(tag=name, scalar_value=acc2, global_step=global_step)
            self.highest_acc_list[i] = max(self.highest_acc_list[i], acc2)
            logging.info(f"[{name}][{global_step}]Accuracy-Highest: {self.highest_acc_list[i]:1.5f}")

    def __call__(self, num_update, backbone):
        if self.rank == 0 and num_update > 0:
            backbone.eval()
            self.ver_test(backbone, num_update)
            backbone.train()


class CallBackLogging:
    def __init__(self, frequent, total_step, batch_size, start_step=0, writer=None):
        self.frequent, self.total_step, self.batch_size, self.start_step = frequent, total_step, batch_size, start_step
        self.writer = writer
        self.rank, self.world_size = distributed.get_rank(), distributed.get_world_size()
        self.time_start = time.time()
        self.init = False
        self.tic = 0

    def __call__(self, global_step, loss, epoch, fp16, learning_rate, grad_scaler):
        if self.rank != 0 or global_step <= 0 or global_step % self.frequent:
            return
        if self.init:
            now = time.time()
            images = self.frequent * self.batch_size * self.world_size
            speed = images / (now - self.tic) if now > self.tic else float("inf")
            per_step = int(now - self.time_start) / (global_step - self.start_step + 1)
            hours = per_step * (self.total_step - global_step - 1) / 3600
            if self.writer is not None:
                self.writer.add_scalar("time_for_end", hours, global_step)
                self.writer.add_scalar("learning_rate", learning_rate, global_step)
                self.writer.add_scalar("loss", loss.avg, global_step)
            scale = f"Fp16 Grad Scale: {grad_scaler.get_scale():2.0f}   " if fp16 else ""
            logging.info(
                f"Speed {speed:.2f} samples/sec   Loss {loss.avg:.4f}   LearningRate {learning_rate:.6f}   "
                f"Epoch: {epoch}   Global Step: {global_step}   {scale}Required: {hours:1.0f} hours"
            )
            loss.reset()
        self.init = True
        self.tic = time.time()
