# DeepLabV3+ on ResNet-34-D, stride 8.
_base_ = ["./_base_/r34d.py"]
model = dict(
    decode_head=dict(
        type="DepthwiseSeparableASPPHead",
        dilations=(1, 12, 24, 36),
        c1_in_channels=64,
        c1_channels=12,
    )
)
