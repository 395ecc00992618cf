import pickle
import types

import mxnet as mx
import numpy as np
import torch
from mxnet import ndarray as nd


def _interp1d(x, y, kind):
    if len(np.unique(x)) < len(x):
        raise ValueError("Expect x to not have duplicates")
    order = np.argsort(x)
    return lambda at: np.interp(at, np.asarray(x)[order], np.asarray(y)[order])


interpolate = types.SimpleNamespace(interp1d=_interp1d)  # replaces scipy's and rejects the same input


def _folds(count, nrof_folds):
    return [(np.setdiff1d(range(count), held), held) for held in np.array_split(np.arange(count), nrof_folds)]


def _rates(threshold, dist, same):
    """True and false accept rates and the accuracy, at one or many thresholds."""
    accept, other = dist < np.asarray(threshold)[..., None], ~same
    hits, alarms = (accept & same).sum(-1), (accept & other).sum(-1)
    return hits / max(same.sum(), 1), alarms / max(other.sum(), 1), (hits + other.sum() - alarms) / dist.size


def calculate_roc(thresholds, embeddings1, embeddings2, actual_issame, nrof_folds=10, pca=0):
    assert pca == 0, "the stand-in has no PCA"
    dist, same, rows = np.square(embeddings1 - embeddings2).sum(1), actual_issame.astype(bool), []
    for train, held in _folds(len(dist), nrof_folds):
        best = _rates(thresholds, dist[train], same[train])[2].argmax()
        tpr, fpr, right = _rates(thresholds, dist[held], same[held])
        rows.append((tpr, fpr, right[best]))
    tprs, fprs, accuracy = zip(*rows, strict=True)
    return np.mean(tprs, 0), np.mean(fprs, 0), np.array(accuracy)


def calculate_val(thresholds, embeddings1, embeddings2, actual_issame, far_target, nrof_folds=10):
    dist, same, rows = np.square(embeddings1 - embeddings2).sum(1), actual_issame.astype(bool), []
    for train, held in _folds(len(dist), nrof_folds):
        far_train = _rates(thresholds, dist[train], same[train])[1]
        threshold = 0.0
        if np.max(far_train) >= far_target:
            threshold = interpolate.interp1d(far_train, thresholds, kind="slinear")(far_target)
        rows.append(_rates(threshold, dist[held], same[held])[:2])
    val, far = np.transpose(rows)
    return np.mean(val), np.std(val), np.mean(far)


def evaluate(embeddings, actual_issame, nrof_folds=10, pca=0):
    sides, same = (embeddings[0::2], embeddings[1::2]), np.asarray(actual_issame)
    tpr, fpr, accuracy = calculate_roc(np.arange(0, 4, 0.01), *sides, same, nrof_folds=nrof_folds, pca=pca)
    val, val_std, far = calculate_val(np.arange(0, 4, 0.001), *sides, same, 1e-3, nrof_folds=nrof_folds)
    return tpr, fpr, accuracy, val, val_std, far


def load_bin(path, image_size):
    with open(path, "rb") as file:
        try:
            bins, issame_list = pickle.load(file)
        except UnicodeDecodeError:
            file.seek(0)
            bins, issame_list = pickle.load(file, encoding="bytes")
    data_list = [torch.empty(len(issame_list) * 2, 3, *image_size[:2]) for _ in range(2)]
    for i in range(len(issame_list) * 2):
        img = mx.image.imdecode(bins[i])
        if img.shape[1] != image_size[0]:
            img = mx.image.resize_short(img, image_size[0])
        img = nd.transpose(img, axes=(2, 0, 1))
        data_list[0][i] = torch.from_numpy(img.asnumpy())
        data_list[1][i] = torch.from_numpy(mx.ndarray.flip(data=img, axis=2).asnumpy())
    return data_list, issame_list


@torch.no_grad()
def test(data_set, backbone, batch_size, nfolds=10):
    embeddings_list = []
    for images in data_set[0]:
        parts = []
        for start in range(0, len(images), batch_size):
            stop = min(start + batch_size, len(images))
            batch = images[stop - batch_size : stop]  # the last batch overlaps the previous one to be full
            out = backbone((batch / 255 - 0.5) / 0.5).detach().cpu().numpy()
            parts.append(out[batch_size - (stop - start) :])
        embeddings_list.append(np.concatenate(parts).astype(float))
    xnorm = np.linalg.norm(np.concatenate(embeddings_list), axis=1).mean()
    both = embeddings_list[0] + embeddings_list[1]
    both /= np.linalg.norm(both, axis=1, keepdims=True).clip(1e-12)
    accuracy = evaluate(both, data_set[1], nrof_folds=nfolds)[2]
    return 0.0, 0.0, np.mean(accuracy), np.std(accuracy), xnorm, embeddings_list
