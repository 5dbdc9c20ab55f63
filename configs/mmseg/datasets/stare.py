# STARE: retinal vessels at their own 700x605, two observers. As in the literature, the first one is the ground truth.
source = "stare"
crop_size = (256, 256)
train_pipeline = [
    dict(type="LoadImage"),
    dict(type="LoadLabel"),
    dict(type="RandomRotate", prob=0.5, degree=180.0),
    dict(type="RandomCrop", crop_size=crop_size),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PhotoMetricDistortion"),
    dict(type="PackSegInputs"),
]
# A U-Net of five stages needs multiples of 16.
test_pipeline = [
    dict(type="LoadImage"),
    dict(type="Resize", scale=(704, 608)),
    dict(type="LoadLabel"),
    dict(type="PackSegInputs"),
]
no_validation = "its literature splits twenty images in ten and ten"
test_split = "test"
# Four fifths of each observer's vessel borders are within 2 pixels of the other observer's.
test_cfg = dict(mode="whole", boundaries=dict(surface_tolerance=2.0))
