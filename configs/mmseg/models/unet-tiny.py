# A U-Net of three stages and sixteen channels: seconds per training on one CPU core.
_base_ = ["mmseg::_base_/models/fcn_unet_s5-d16.py"]
model = dict(
    backbone=dict(
        base_channels=16,
        num_stages=3,
        strides=(1, 1, 1),
        enc_num_convs=(2, 2, 2),
        dec_num_convs=(2, 2),
        downsamples=(True, True),
        enc_dilations=(1, 1, 1),
        dec_dilations=(1, 1),
    ),
    decode_head=dict(in_channels=16, in_index=2, channels=16, dropout_ratio=0.0),
    auxiliary_head=None,
)
