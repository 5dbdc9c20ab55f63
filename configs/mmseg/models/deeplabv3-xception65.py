# DeepLabV3 on Xception65, stride 8.
_base_ = ["./_base_/xception65.py"]
model = dict(decode_head=dict(type="ASPPHead", dilations=(1, 12, 24, 36)))
