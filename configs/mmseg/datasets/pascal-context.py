# PASCAL Context, 59 classes, images of about 500x375.
_base_ = ["./_base_/crops-512x512.py"]
source = "pascal-context"
no_validation = "its owners publish training and validation labels, and the articles evaluate on the latter"
test_split = "val"
