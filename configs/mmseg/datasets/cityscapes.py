# Cityscapes, 19 classes at 2048x1024.
_base_ = ["./_base_/crops-512x1024.py"]
source = "cityscapes"
no_validation = "the labels of its test images are not public, so the articles evaluate on the validation images"
test_split = "val"
