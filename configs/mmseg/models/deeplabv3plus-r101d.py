# DeepLabV3+ on ResNet-101-D, stride 8.
_base_ = ["./_base_/r101d.py"]
model = dict(
    decode_head=dict(
        type="DepthwiseSeparableASPPHead",
        dilations=(1, 12, 24, 36),
        c1_in_channels=256,
        c1_channels=48,
    )
)
