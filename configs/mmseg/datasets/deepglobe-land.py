# DeepGlobe Land, 6 classes at 2448x2448, fold 0 of five.
_base_ = ["./_base_/crops-512x512.py"]
source = "deepglobe-land"
no_validation = "its labelled images are divided in two, by five folds of which this is the first"
test_split = "val"
