# COCO-Stuff 164k, 171 classes, images of many sizes.
_base_ = ["./_base_/crops-512x512.py"]
source = "coco-stuff"
no_validation = "its owners publish training and validation labels, and the articles evaluate on the latter"
test_split = "val"
resources = {"gpus": 1, "cpus": 12, "memory_gb": 64, "minutes": 2880}
