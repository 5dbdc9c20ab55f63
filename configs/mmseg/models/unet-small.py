# MMSegmentation's five-stage U-Net with 16 instead of 64 channels: trains on two CPU cores.
_base_ = ["mmseg::_base_/models/fcn_unet_s5-d16.py"]
model = dict(
    backbone=dict(base_channels=16),
    decode_head=dict(in_channels=16, channels=16),
    auxiliary_head=None,
)
