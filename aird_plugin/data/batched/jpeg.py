"""JPEG encoding and decoding of a batch, without the files: what libjpeg's defaults do to an image, bit for bit.

A port of the lossy steps of libjpeg-turbo (jccolor, jcsample, jfdctint, jcdctmgr, jidctint, jdsample, jdcolor): YCbCr by integer
tables, 4:2:0 chroma, the "islow" integer DCT, Annex K's quantisation tables scaled by the quality, fancy upsampling. Entropy
coding loses nothing and is left out. Each DCT pass is linear up to one rounding, hence a product with an integer 8 x 8 matrix.

Everything is float64 on every device: the integers stay below 2**53, and one sample that is rounded otherwise before the
quantisation may move its whole block by a quantisation step.
"""

import functools

import numpy as np
import torch

LUMA_TABLE = """16 11 10 16 24 40 51 61 12 12 14 19 26 58 60 55 14 13 16 24 40 57 69 56 14 17 22 29 51 87 80 62
18 22 37 56 68 109 103 77 24 35 55 64 81 104 113 92 49 64 78 87 103 121 120 101 72 92 95 98 112 100 103 99"""
CHROMA_TABLE = """17 18 24 47 99 99 99 99 18 21 26 66 99 99 99 99 24 26 56 99 99 99 99 99 47 66 99 99 99 99 99 99
99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99"""
# Rows: Y, Cb, Cr from R, G, B in units of 2**-16, and what is added before truncation.
TO_YCC = ((19595, 38470, 7471), (-11059, -21709, 32768), (32768, -27439, -5329))
YCC_OFFSET = (32768, (128 << 16) + 32767, (128 << 16) + 32767)
CONST_BITS, PASS1_BITS = 13, 2


def jpeg(images_BSSC: torch.Tensor, side_B: np.ndarray, quality_B: np.ndarray) -> torch.Tensor:
    """Encode and decode each image at its own quality (1 to 100, whole). uint8 (B, S, S, 3) -> uint8 (B, S, S, 3)."""
    size = -(-images_BSSC.shape[1] // 16) * 16
    device = images_BSSC.device
    edge_B = torch.from_numpy(np.asarray(side_B)).to(device)
    pixels_B3SS = images_BSSC.permute(0, 3, 1, 2).double()
    ycc_B3SS = _to_ycc(_repeat_edge(pixels_B3SS, edge_B, size))
    half_B = (edge_B + 1) // 2
    # libjpeg repeats the last column of pixels, but below the image the last row of the halved chroma.
    chroma_B2SS = _repeat_rows(_halve(ycc_B3SS[:, 1:]), half_B)
    luma_table_BS, chroma_table_BS = (torch.from_numpy(table).to(device) for table in quantisation_tables(quality_B))
    luma_B1SS = _quantise(ycc_B3SS[:, :1], luma_table_BS)
    chroma_B2SS = _upsample(_quantise(chroma_B2SS, chroma_table_BS), half_B)
    rgb_B3SS = _to_rgb(luma_B1SS[:, 0], *chroma_B2SS.unbind(1))
    side = images_BSSC.shape[1]
    return rgb_B3SS[:, :, :side, :side].permute(0, 2, 3, 1).to(torch.uint8).contiguous()


def quantisation_tables(quality_B: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """libjpeg's luma and chroma tables at these qualities: float64 (B, 8, 8) each, whole numbers from 1 to 255."""
    quality_B = np.asarray(quality_B, np.int64)
    scale_B1 = np.where(quality_B < 50, 5000 // quality_B, 200 - 2 * quality_B)[:, None]
    tables = (np.array(text.split(), np.int64) for text in (LUMA_TABLE, CHROMA_TABLE))
    luma_B88, chroma_B88 = (((table * scale_B1 + 50) // 100).clip(1, 255).reshape(-1, 8, 8).astype(float) for table in tables)
    return luma_B88, chroma_B88


@functools.lru_cache(maxsize=1)
def dct_matrix() -> np.ndarray:
    """The linear part of a pass of the islow DCT, in units of 2**-13: whole numbers (frequency 8, sample 8).

    Equal to round(2**13 * sqrt(2) * cos((2 x + 1) u pi / 16)) up to the roundings of the factored constants of jfdctint.c.
    """
    f = {name: round(value * (1 << CONST_BITS)) for name, value in _CONSTANTS.items()}
    x_88 = np.eye(8, dtype=np.int64)
    plus_48, minus_48 = x_88[:4] + x_88[:3:-1], x_88[:4] - x_88[:3:-1]
    t10, t11, t12, t13 = plus_48[0] + plus_48[3], plus_48[1] + plus_48[2], plus_48[1] - plus_48[2], plus_48[0] - plus_48[3]
    out = np.zeros((8, 8), np.int64)
    out[0], out[4] = (t10 + t11) << CONST_BITS, (t10 - t11) << CONST_BITS
    z1 = (t12 + t13) * f["0.541"]
    out[2], out[6] = z1 + t13 * f["0.765"], z1 - t12 * f["1.847"]
    t7, t6, t5, t4 = minus_48
    z1, z2, z3, z4 = t4 + t7, t5 + t6, t4 + t6, t5 + t7
    z5 = (z3 + z4) * f["1.175"]
    z1, z2, z3, z4 = -z1 * f["0.899"], -z2 * f["2.562"], -z3 * f["1.961"] + z5, -z4 * f["0.390"] + z5
    out[7], out[5] = t4 * f["0.298"] + z1 + z3, t5 * f["2.053"] + z2 + z4
    out[3], out[1] = t6 * f["3.072"] + z2 + z3, t7 * f["1.501"] + z1 + z4
    return out


# The constants of jfdctint.c and jidctint.c, by the digits of their names there.
_CONSTANTS = {
    "0.298": 0.298631336,
    "0.390": 0.390180644,
    "0.541": 0.541196100,
    "0.765": 0.765366865,
    "0.899": 0.899976223,
    "1.175": 1.175875602,
    "1.501": 1.501321110,
    "1.847": 1.847759065,
    "1.961": 1.961570560,
    "2.053": 2.053119869,
    "2.562": 2.562915447,
    "3.072": 3.072711026,
}


def _repeat_edge(planes_BCSS: torch.Tensor, side_B: torch.Tensor, size: int) -> torch.Tensor:
    """The images continued to (size, size) by their last column, and by their last row."""
    index_BS = torch.minimum(torch.arange(size, device=side_B.device), side_B[:, None] - 1)
    batch_B11 = torch.arange(len(side_B), device=side_B.device)[:, None, None]
    return planes_BCSS.permute(0, 2, 3, 1)[batch_B11, index_BS[:, :, None], index_BS[:, None]].permute(0, 3, 1, 2)


def _repeat_rows(planes_BCSS: torch.Tensor, side_B: torch.Tensor) -> torch.Tensor:
    index_BS = torch.minimum(torch.arange(planes_BCSS.shape[2], device=side_B.device), side_B[:, None] - 1)
    return planes_BCSS.gather(2, index_BS[:, None, :, None].expand_as(planes_BCSS))


def _to_ycc(rgb_B3SS: torch.Tensor) -> torch.Tensor:
    matrix_33 = rgb_B3SS.new_tensor(TO_YCC)
    offset_3 = rgb_B3SS.new_tensor(YCC_OFFSET)[:, None, None]
    return ((torch.einsum("yc,bchw->byhw", matrix_33, rgb_B3SS) + offset_3) / 65536).floor_()


def _to_rgb(luma_BSS: torch.Tensor, cb_BSS: torch.Tensor, cr_BSS: torch.Tensor) -> torch.Tensor:
    cb_BSS, cr_BSS = cb_BSS - 128, cr_BSS - 128
    red = ((91881 * cr_BSS + 32768) / 65536).floor_()
    green = ((-22554 * cb_BSS - 46802 * cr_BSS + 32768) / 65536).floor_()
    blue = ((116130 * cb_BSS + 32768) / 65536).floor_()
    return (torch.stack([red, green, blue], 1) + luma_BSS[:, None]).clamp_(0, 255)


def _halve(planes_BCSS: torch.Tensor) -> torch.Tensor:
    """Mean of 2 x 2 samples, rounded up in odd columns and down in even ones at ties (h2v2_downsample)."""
    rows = planes_BCSS[:, :, 0::2] + planes_BCSS[:, :, 1::2]
    sums = rows[..., 0::2] + rows[..., 1::2]
    bias_S = 1.0 + torch.arange(sums.shape[-1], device=sums.device, dtype=sums.dtype) % 2
    return ((sums + bias_S) / 4).floor_()


def _upsample(planes_BCSS: torch.Tensor, side_B: torch.Tensor) -> torch.Tensor:
    """Twice as many rows and columns, weights 3/4 and 1/4 (h2v2_fancy_upsample); of at most 2 columns each is repeated."""
    size, device = planes_BCSS.shape[-1], planes_BCSS.device
    at_S = torch.arange(size, device=device)
    last_B1 = side_B[:, None] - 1
    # Output 2 i is nearest to input i, then to i - 1; output 2 i + 1 to i, then to i + 1.
    far_BS2 = torch.stack([(at_S - 1).clamp(min=0).expand(len(side_B), -1), torch.minimum(at_S + 1, last_B1)], 2)
    near_S, far_BT = at_S.repeat_interleave(2), far_BS2.flatten(1)
    rows = 3 * planes_BCSS[:, :, near_S] + _take(planes_BCSS, far_BT, 2)
    bias_T = 8 - (torch.arange(2 * size, device=device) % 2).to(planes_BCSS.dtype)
    fancy = ((3 * rows[..., near_S] + _take(rows, far_BT, 3) + bias_T) / 16).floor_()
    if side_B.min() > 2:
        return fancy
    plain = planes_BCSS[:, :, near_S][..., near_S]
    return torch.where((side_B > 2)[:, None, None, None], fancy, plain)


def _take(planes_BCSS: torch.Tensor, index_BT: torch.Tensor, dim: int) -> torch.Tensor:
    shape = [len(index_BT), 1, 1, 1]
    shape[dim] = index_BT.shape[1]
    full = list(planes_BCSS.shape)
    full[dim] = index_BT.shape[1]
    return planes_BCSS.gather(dim, index_BT.view(shape).expand(full))


def _quantise(planes_BCSS: torch.Tensor, table_B88: torch.Tensor) -> torch.Tensor:
    """DCT, quantisation, inverse DCT of each 8 x 8 block."""
    count, channels, rows, columns = planes_BCSS.shape
    matrix_88 = torch.from_numpy(dct_matrix()).to(planes_BCSS.device, planes_BCSS.dtype)
    blocks = (planes_BCSS - 128).view(count, channels, rows // 8, 8, columns // 8, 8).permute(3, 5, 0, 1, 2, 4)
    shape = blocks.shape
    blocks_88N = blocks.reshape(8, 8, -1)
    # Rows first, as in jfdctint.c; coefficients come out times 8.
    blocks_88N = _descale(torch.matmul(matrix_88, blocks_88N), CONST_BITS - PASS1_BITS)
    blocks_88N = _descale(_on_rows(matrix_88, blocks_88N), CONST_BITS + PASS1_BITS)
    step_881 = table_B88.permute(1, 2, 0)[..., None]
    coefficients = blocks_88N.view(8, 8, count, -1)
    rounded = ((coefficients.abs() + 4 * step_881) / (8 * step_881)).floor_()
    blocks_88N = (rounded * coefficients.sign() * step_881).view(8, 8, -1)
    # Columns first, as in jidctint.c.
    blocks_88N = _descale(_on_rows(matrix_88.T, blocks_88N), CONST_BITS - PASS1_BITS)
    blocks_88N = _descale(torch.matmul(matrix_88.T, blocks_88N), CONST_BITS + PASS1_BITS + 3)
    samples = (blocks_88N + 128).clamp_(0, 255).view(shape)
    return samples.permute(2, 3, 4, 0, 5, 1).reshape(planes_BCSS.shape)


def _on_rows(matrix_88: torch.Tensor, blocks_88N: torch.Tensor) -> torch.Tensor:
    return (matrix_88 @ blocks_88N.flatten(1)).view_as(blocks_88N)


def _descale(values: torch.Tensor, bits: int) -> torch.Tensor:
    return values.add_(1 << (bits - 1)).mul_(2.0**-bits).floor_()
