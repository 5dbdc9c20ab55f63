# PSPNet on ResNet-18-D, stride 8.
_base_ = ["./_base_/r18d.py"]
model = dict(decode_head=dict(type="PSPHead", pool_scales=(1, 2, 3, 6)))
