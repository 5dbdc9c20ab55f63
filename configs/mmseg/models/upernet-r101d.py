# UPerNet on ResNet-101-D, stride 32 (inferred: the articles give no stride).
_base_ = ["./_base_/r101d.py"]
model = dict(
    backbone=dict(output_stride=32),
    decode_head=dict(
        type="UPerHead", in_index=(0, 1, 2, 3), in_channels=(256, 512, 1024, 2048), pool_scales=(1, 2, 3, 6)
    ),
)
