# DeepLabV3+ on MobileViTV2, stride 8.
_base_ = ["./_base_/mobilevitv2.py"]
model = dict(
    decode_head=dict(
        type="DepthwiseSeparableASPPHead",
        dilations=(1, 12, 24, 36),
        c1_in_channels=128,
        c1_channels=12,
    )
)
