# QUBIQ's kidneys in CT, resized to 256x256.
source = "qubiq-kidney"
# The challenge has no single ground truth: predictions are scored against the majority of the raters.
reference = "majority"
crop_size = (256, 256)
train_pipeline = [
    dict(type="LoadImage"),
    dict(type="LoadLabel"),
    dict(type="RandomResize", scale=(256, 256), ratio_range=(0.75, 1.5), keep_ratio=False),
    dict(type="RandomCrop", crop_size=crop_size),
    dict(type="RandomRotate", prob=0.5, degree=20.0),
    dict(type="PackSegInputs"),
]
test_pipeline = [
    dict(type="LoadImage"),
    dict(type="Resize", scale=(256, 256)),
    dict(type="LoadLabel"),
    dict(type="PackSegInputs"),
]
val_split = "val"
test_split = "test"
test_cfg = dict(mode="whole")
