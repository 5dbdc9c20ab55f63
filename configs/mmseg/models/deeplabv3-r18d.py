# DeepLabV3 on ResNet-18-D, stride 8.
_base_ = ["./_base_/r18d.py"]
model = dict(decode_head=dict(type="ASPPHead", dilations=(1, 12, 24, 36)))
