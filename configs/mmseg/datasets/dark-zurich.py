# Dark Zurich at 1920x1080: for evaluation of a model trained on Cityscapes.
_base_ = ["./_base_/crops-512x1024.py"]
source = "dark-zurich"
no_validation = "its 50 images are all for evaluation"
test_split = "test"
