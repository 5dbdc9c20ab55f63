# PASCAL VOC for choosing a teacher: as in the articles, on the validation images, which are also the evaluated ones.
# So the temperature is fitted on evaluated images: metrics after temperature scaling are optimistic here.
_base_ = ["./_base_/crops-512x512.py"]
source = "pascal-voc"
val_split = "val"
test_split = "val"
