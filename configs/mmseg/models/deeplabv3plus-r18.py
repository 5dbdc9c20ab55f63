# DeepLabV3+ on ResNet-18, trained from scratch: pretrained weights are downloaded, and are named where they are used.
_base_ = ["mmseg::_base_/models/deeplabv3plus_r50-d8.py"]
model = dict(
    pretrained=None,
    backbone=dict(depth=18),
    decode_head=dict(c1_in_channels=64, c1_channels=12, in_channels=512, channels=128),
    auxiliary_head=dict(in_channels=256, channels=64),
)
