# CamVid at its owners' 960x720, trained on SegNet's training and validation images together as in the articles.
_base_ = ["./_base_/crops-512x512.py"]
source = "camvid-960-trainval"
no_validation = "its validation images are trained on"
test_split = "test"
