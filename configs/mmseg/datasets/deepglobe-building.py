# DeepGlobe Building (SpaceNet 2), 650x650, fold 0 of five.
_base_ = ["./_base_/crops-512x512.py"]
source = "deepglobe-building"
no_validation = "its labelled images are divided in two, by five folds of which this is the first"
test_split = "val"
