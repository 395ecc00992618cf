import torch
from torch import nn


class ToyNet(nn.Module):
    """112 x 112 images -> embeddings; the last BatchNorm has a frozen weight, like the real r18."""

    def __init__(self, dropout=0, num_features=512, fp16=False):
        super().__init__()
        self.fp16 = fp16
        self.body = nn.Sequential(nn.Conv2d(3, 8, 4, 4, bias=False), nn.BatchNorm2d(8), nn.PReLU(8), nn.AvgPool2d(4))
        self.dropout = nn.Dropout(p=dropout)
        self.fc = nn.Linear(8 * 7 * 7, num_features)
        self.features = nn.BatchNorm1d(num_features)
        self.features.weight.requires_grad = False

    def forward(self, x):
        with torch.cuda.amp.autocast(self.fp16):
            x = self.dropout(self.body(x).flatten(1))
        return self.features(self.fc(x.float()))


def get_model(name, **kwargs):
    if name == "mbf":
        from aird_plugin.models import build

        return build(name, kwargs.get("num_features", 512))  # accepts the weights of the real mbf
    if name != "r18":
        raise ValueError()
    return ToyNet(**kwargs)
