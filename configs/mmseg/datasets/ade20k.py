# ADE20K, 150 classes, images of many sizes.
_base_ = ["./_base_/crops-512x512.py"]
source = "ade20k"
no_validation = "the labels of its test images are not public, so the articles evaluate on the validation images"
test_split = "val"
