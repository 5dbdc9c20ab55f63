# DeepLabV3+ on MobileNetV2, stride 8.
_base_ = ["./_base_/mobilenetv2.py"]
model = dict(
    decode_head=dict(
        type="DepthwiseSeparableASPPHead",
        dilations=(1, 12, 24, 36),
        c1_in_channels=24,
        c1_channels=12,
    )
)
