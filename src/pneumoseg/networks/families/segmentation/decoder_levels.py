"""The intermediate maps of segmentation-models-pytorch's decoders, which return only their last one.

Each function repeats the forward pass of one decoder of version 0.6 with its own blocks and returns every level,
deepest first; a contract test holds its last level against the decoder itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Levels = Callable[[nn.Module, Any], list[Tensor]]


def output_only(decoder: nn.Module, features: Any) -> list[Tensor]:
    """The output of the decoder alone."""
    if isinstance(features, tuple):
        return [decoder(*features)]
    return [decoder(features)]


def unet(decoder: Any, features: list[Tensor]) -> list[Tensor]:
    """The output of each block of a U-Net decoder, (N, C_i, H / 2^i, W / 2^i) for i = depth - 1 … 0."""
    shapes = [feature.shape[2:] for feature in features[::-1]]
    head, *skips = features[1:][::-1]
    levels = [decoder.center(head)]
    for index, block in enumerate(decoder.blocks):
        height, width = shapes[index + 1]
        skip = skips[index] if index < len(skips) else None
        levels.append(block(levels[-1], height, width, skip_connection=skip))
    return levels[1:]


def unetplusplus(decoder: Any, features: list[Tensor]) -> list[Tensor]:
    """The nodes x_0_0 … x_0_depth of a U-Net++ decoder, its main path, (N, C_i, H / 2^i, W / 2^i)."""
    reverse = features[1:][::-1]
    blocks, depth = decoder.blocks, decoder.depth
    nodes: dict[tuple[int, int], Tensor] = {}
    for layer in range(depth):
        for row in range(depth - layer):
            column = row + layer
            if layer == 0:
                nodes[row, row] = blocks[f"x_{row}_{row}"](reverse[row], reverse[row + 1])
                continue
            skips = [nodes[index, column] for index in range(row + 1, column + 1)]
            skip = torch.cat([*skips, reverse[column + 1]], dim=1)
            nodes[row, column] = blocks[f"x_{row}_{column}"](nodes[row, column - 1], skip)
    nodes[0, depth] = blocks[f"x_0_{depth}"](nodes[0, depth - 1])
    return [nodes[0, column] for column in range(depth + 1)]


def manet(decoder: Any, features: list[Tensor]) -> list[Tensor]:
    """The output of each block of a MA-Net decoder, (N, C_i, H / 2^i, W / 2^i)."""
    head, *skips = features[1:][::-1]
    return _blocks(decoder.blocks, decoder.center(head), skips)


def linknet(decoder: Any, features: list[Tensor]) -> list[Tensor]:
    """The output of each block of a LinkNet decoder, (N, C_i, H / 2^i, W / 2^i)."""
    head, *skips = features[1:][::-1]
    return _blocks(decoder.blocks, head, skips)


def _blocks(blocks: Any, head: Tensor, skips: list[Tensor]) -> list[Tensor]:
    levels = [head]
    for index, block in enumerate(blocks):
        levels.append(block(levels[-1], skips[index] if index < len(skips) else None))
    return levels[1:]


def fpn(decoder: Any, features: list[Tensor]) -> list[Tensor]:
    """The pyramid p5, p4, p3, p2 of an FPN decoder, (N, C, H / 2^i, W / 2^i), and its merged output."""
    c2, c3, c4, c5 = features[-4:]
    p5 = decoder.p5(c5)
    p4 = decoder.p4(p5, c4)
    p3 = decoder.p3(p4, c3)
    p2 = decoder.p2(p3, c2)
    pyramid = [p5, p4, p3, p2]
    merged = decoder.merge([block(level) for block, level in zip(decoder.seg_blocks, pyramid, strict=True)])
    return [*pyramid, decoder.dropout(merged)]


def pan(decoder: Any, features: list[Tensor]) -> list[Tensor]:
    """Feature pyramid attention, then each global attention upsampling of a PAN decoder."""
    skips = features[2:]
    levels = [decoder.fpa(skips[-1])]
    for index in range(len(skips) - 2, -1, -1):
        levels.append(getattr(decoder, f"gau{index + 1}")(skips[index], levels[-1]))
    return levels


def upernet(decoder: Any, features: list[Tensor]) -> list[Tensor]:
    """The pooling pyramid and the feature pyramid of a UPerNet decoder, deepest first, and the fused output."""
    normed = [norm(feature) for norm, feature in zip(decoder.feature_norms, features[2:], strict=True)]
    states = [decoder.psp(normed[-1])]
    for lateral, block in zip(normed[:-1][::-1], decoder.fpn_lateral_blocks, strict=True):
        states.append(block(states[-1], lateral))
    pyramid = [states[0], *(conv(state) for conv, state in zip(decoder.fpn_conv_blocks, states[1:], strict=True))]
    size = pyramid[-1].shape[2:]
    resized = [F.interpolate(level, size=size, mode="bilinear", align_corners=False) for level in pyramid]
    return [*pyramid, decoder.fusion_block(torch.cat(resized[::-1], dim=1))]


def _unet_channels(decoder: Any) -> list[int]:
    blocks = decoder.blocks
    if isinstance(blocks, nn.ModuleDict):
        blocks = [blocks[f"x_0_{column}"] for column in range(decoder.depth + 1)]
    return [block.conv2[0].out_channels for block in blocks]


def _linknet_channels(decoder: Any) -> list[int]:
    return [block.block[2][0].out_channels for block in decoder.blocks]


def _fpn_channels(decoder: Any) -> list[int]:
    return [decoder.p5.out_channels] * 4 + [decoder.out_channels]


def _pan_channels(decoder: Any) -> list[int]:
    upsampling = [part for name, part in decoder.named_children() if name.startswith("gau")]
    width = upsampling[0].conv2.conv.out_channels
    return [width] * (len(upsampling) + 1)


def _upernet_channels(decoder: Any) -> list[int]:
    width = decoder.fusion_block[0].out_channels
    return [width] * (len(decoder.feature_norms) + 1)


class Decoding(NamedTuple):
    """How to run a decoder level by level, and the channels of the levels of one."""

    run: Levels
    channels: Callable[[Any], list[int]]


#: The decoders whose levels can be had.
DECODINGS: dict[str, Decoding] = {
    "unet": Decoding(unet, _unet_channels),
    "unetplusplus": Decoding(unetplusplus, _unet_channels),
    "manet": Decoding(manet, _unet_channels),
    "linknet": Decoding(linknet, _linknet_channels),
    "fpn": Decoding(fpn, _fpn_channels),
    "pan": Decoding(pan, _pan_channels),
    "upernet": Decoding(upernet, _upernet_channels),
}
