import argparse
import os
import sys

import numpy as np
import torch
from backbones import get_model
from onnx_ijbc import Crops, read, scores_of, show

sys.path.insert(0, "../")
parser = argparse.ArgumentParser()
for name in ("model-prefix", "image-path", "result-dir", "network", "job", "target"):
    parser.add_argument(f"--{name}")
parser.add_argument("--batch-size", default=128, type=int)
args = parser.parse_args()

templates, medias, pairs, lines = read(args.image_path, args.target)
network = get_model(args.network, dropout=0, fp16=False).cuda()
network.load_state_dict(torch.load(args.model_prefix))
network.eval()
crops = Crops(os.path.join(args.image_path, "loose_crop"), lines)
feats = np.empty((len(lines), 1024), np.float32)
with torch.no_grad():
    for i in range(len(lines)):
        feats[i] = network((crops[i].cuda() / 255 - 0.5) / 0.5).cpu().numpy().reshape(-1)
os.makedirs(os.path.join(args.result_dir, args.job))
scores = scores_of(feats, lines, templates, medias, pairs)
np.save(os.path.join(args.result_dir, args.job, f"{args.target.lower()}.npy"), scores)
show(scores, pairs)
