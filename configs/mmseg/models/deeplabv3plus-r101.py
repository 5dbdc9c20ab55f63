# DeepLabV3+ on ResNet-101, trained from scratch: a teacher for deeplabv3plus-r18.
_base_ = ["mmseg::_base_/models/deeplabv3plus_r50-d8.py"]
model = dict(pretrained=None, backbone=dict(depth=101))
