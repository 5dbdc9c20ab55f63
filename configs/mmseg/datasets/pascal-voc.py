# PASCAL VOC 2012 with SBD (trainaug), 21 classes, images of about 500x375.
_base_ = ["./_base_/crops-512x512.py"]
source = "pascal-voc"
no_validation = "the labels of its test images are not public, so the articles evaluate on the validation images"
test_split = "val"
