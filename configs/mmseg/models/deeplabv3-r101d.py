# DeepLabV3 on ResNet-101-D, stride 8.
_base_ = ["./_base_/r101d.py"]
model = dict(decode_head=dict(type="ASPPHead", dilations=(1, 12, 24, 36)))
