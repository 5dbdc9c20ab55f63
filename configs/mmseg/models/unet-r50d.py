# U-Net with ResNet-50-D as its encoder, stride 32 (inferred: the articles give no stride).
_base_ = ["./_base_/r50d.py"]
model = dict(
    backbone=dict(out_indices=(0, 1, 2, 3, 4), output_stride=32),
    decode_head=dict(type="UNetHead", in_index=(0, 1, 2, 3, 4), in_channels=(64, 256, 512, 1024, 2048), channels=32),
    auxiliary_head=dict(in_index=3),
)
