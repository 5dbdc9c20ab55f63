# Nighttime Driving: for evaluation of a model trained on Cityscapes.
_base_ = ["./_base_/crops-512x1024.py"]
source = "nighttime-driving"
no_validation = "its 50 images are all for evaluation"
test_split = "test"
