# U-Net with MobileNetV2 as its encoder, stride 32 (inferred: the articles give no stride).
_base_ = ["./_base_/mobilenetv2.py"]
model = dict(
    backbone=dict(out_indices=(0, 1, 2, 3, 4), output_stride=32),
    decode_head=dict(type="UNetHead", in_index=(0, 1, 2, 3, 4), in_channels=(16, 24, 32, 96, 320), channels=32),
    auxiliary_head=dict(in_index=3),
)
