# Cityscapes where a teacher is chosen: as in the articles on its validation images, which are the evaluated ones too.
# So the temperature is fitted on evaluated images: metrics after temperature scaling are too good here.
_base_ = ["./_base_/crops-512x1024.py"]
source = "cityscapes"
val_split = "val"
test_split = "val"
