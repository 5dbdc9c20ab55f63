# MMSegmentation's five-stage U-Net as it stands, auxiliary head included.
_base_ = ["mmseg::_base_/models/fcn_unet_s5-d16.py"]
