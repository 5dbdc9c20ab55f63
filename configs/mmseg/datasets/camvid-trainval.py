# CamVid trained on its training and validation images together, as in the articles on the JDT losses.
_base_ = ["./camvid.py"]
source = "camvid-trainval"
val_split = None
no_validation = "its validation images are trained on"
