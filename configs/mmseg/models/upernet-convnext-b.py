# UPerNet on ConvNeXt-B, weights from ImageNet-22k, stride 32.
_base_ = ["./_base_/convnext-b.py"]
model = dict(
    backbone=dict(out_indices=(0, 1, 2, 3), output_stride=32),
    decode_head=dict(
        type="UPerHead", in_index=(0, 1, 2, 3), in_channels=(128, 256, 512, 1024), pool_scales=(1, 2, 3, 6)
    ),
)
