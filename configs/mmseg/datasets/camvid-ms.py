# CamVid trained as camvid is; predictions are averaged over six scales and mirror images, the papers' "ms + flip".
_base_ = ["./camvid.py"]
test_cfg = dict(scales=(0.5, 0.75, 1.0, 1.25, 1.5, 1.75), flip=True)
