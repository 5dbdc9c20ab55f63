# DeepLabV3 on MobileNetV2, stride 8.
_base_ = ["./_base_/mobilenetv2.py"]
model = dict(decode_head=dict(type="ASPPHead", dilations=(1, 12, 24, 36)))
