# DeepLabV3+ on EfficientNet-B0, stride 8.
_base_ = ["./_base_/efficientnet-b0.py"]
model = dict(
    decode_head=dict(
        type="DepthwiseSeparableASPPHead",
        dilations=(1, 12, 24, 36),
        c1_in_channels=24,
        c1_channels=12,
    )
)
