# CamVid at its owners' 960x720, SegNet's 11 classes and split.
_base_ = ["./_base_/crops-512x512.py"]
source = "camvid-960"
val_split = "val"
test_split = "test"
