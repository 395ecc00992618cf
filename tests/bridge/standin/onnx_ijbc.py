import os

import mxnet as mx
import numpy as np
import torch
from onnx_helper import ArcFaceORT
from PIL import Image
from torch.utils.data import DataLoader

EYE = (38.2946, 51.6963)


class Crops(mx.gluon.data.Dataset):
    def __init__(self, root, lines):
        self.root, self.lines = root, lines

    def __len__(self):
        return len(self.lines)

    def __getitem__(self, idx):
        name, x, y = self.lines[idx].split(" ")[:3]
        left, top = round(float(x) - EYE[0]), round(float(y) - EYE[1])
        image = np.asarray(Image.open(os.path.join(self.root, name)))[top : top + 112, left : left + 112]
        return torch.from_numpy(np.stack([image, image[:, ::-1]]).astype(np.float32).transpose(0, 3, 1, 2))


def read(image_path, target):
    place = os.path.join(image_path, "meta", target.lower())
    columns = np.loadtxt(place + "_face_tid_mid.txt", str).T
    pairs = np.loadtxt(place + "_template_pair_label.txt", str)
    lines = open(place + "_name_5pts_score.txt").read().splitlines()
    return columns[1].astype(np.int), columns[2].astype(np.int), pairs.astype(np.int), lines


def scores_of(feats, lines, templates, medias, pairs):
    feats = feats.reshape(len(lines), 2, -1).sum(1) * np.array([float(line.split(" ")[-1]) for line in lines])[:, None]
    mean = {}
    for template in set(templates):
        here = templates == template
        total = sum(feats[here & (medias == media)].mean(0) for media in set(medias[here]))
        mean[template] = total / np.linalg.norm(total)
    return np.array([mean[a] @ mean[b] for a, b, _ in pairs])


def show(scores, pairs):
    genuine, impostor = scores[pairs[:, 2] == 1], scores[pairs[:, 2] == 0]
    print(f"| stand-in | {100 * (genuine > impostor.max()).mean():.2f} |")


def main(args):
    templates, medias, pairs, lines = read(args.image_path, args.target)
    model = ArcFaceORT(model_path=args.model_root)
    model.check()
    crops = Crops(os.path.join(args.image_path, "loose_crop"), lines)
    loader = DataLoader(crops, batch_size=8, num_workers=2, collate_fn=torch.cat)
    images = np.concatenate([batch.numpy() for batch in loader])
    feats = model.session.run(model.output_names, {model.input_name: (images - model.input_mean) / model.input_std})[0]
    os.makedirs(os.path.join(args.model_root, f"{args.target}_result"))
    scores = scores_of(feats, lines, templates, medias, pairs)
    np.save(os.path.join(args.model_root, f"{args.target}_result", f"{args.target}.npy"), scores)
    show(scores, pairs)
