"""U-Net's decoder over the features of any backbone, as a decode head of MMSegmentation."""

from collections.abc import Sequence
from typing import Any

import torch
from mmcv.cnn import ConvModule
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional


@MODELS.register_module()
class UNetHead(BaseDecodeHead):
    """Upsamples the deepest feature map in steps; each concatenates the next shallower map and has two convolutions.

    Ronneberger et al., U-Net, 2015, https://arxiv.org/abs/1505.04597.

    Args:
        in_channels: Channels of the feature maps, the shallowest first.
        in_index: Their indices among the backbone's outputs.
        channels: Channels of the last step; every deeper step has twice as many.
        head: The other arguments of a decode head.
    """

    def __init__(self, in_channels: Sequence[int], in_index: Sequence[int], channels: int, **head: Any) -> None:
        super().__init__(
            in_channels=list(in_channels),
            in_index=list(in_index),
            channels=channels,
            input_transform="multiple_select",
            **head,
        )
        steps = len(in_channels) - 1
        widths = [channels * 2 ** (steps - step - 1) for step in range(steps)]
        inputs = [in_channels[-1], *widths]
        self.steps = nn.ModuleList(
            nn.Sequential(
                self._convolution(inputs[step] + in_channels[-2 - step], widths[step]),
                self._convolution(widths[step], widths[step]),
            )
            for step in range(steps)
        )

    def _convolution(self, inputs: int, outputs: int) -> nn.Module:
        return ConvModule(inputs, outputs, 3, padding=1, norm_cfg=self.norm_cfg, act_cfg=self.act_cfg)

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """The logits (B, C, h, w) at the size of the shallowest feature map."""
        *skips, deepest = self._transform_inputs(inputs)
        for step, skip in zip(self.steps, reversed(skips), strict=True):
            larger = functional.interpolate(deepest, skip.shape[2:], mode="nearest")
            deepest = step(torch.cat([larger, skip], dim=1))
        return self.cls_seg(deepest)
