# BSDS500: boundaries drawn by four to nine people; trained on 224x224 crops, scored on whole images at their own size.
source = "bsds500"
# Boundaries are 6 % of the pixels of a dilated drawing. The majority of an image's drawings is the hard reference; soft
# Dice, KL and the best threshold against their mean are more informative (rater k is another person in every image).
reference = "majority"
crop_size = (224, 224)
train_pipeline = [
    dict(type="LoadImage"),
    dict(type="LoadLabel"),
    dict(type="RandomCrop", crop_size=crop_size),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackSegInputs"),
]
test_pipeline = [
    dict(type="LoadImage"),
    dict(type="LoadLabel"),
    dict(type="PackSegInputs"),
]
val_split = "val"
test_split = "test"
# ODS and OIS with the matching distance of the Berkeley benchmark, .75 % of the diagonal: 4.3 pixels.
test_cfg = dict(mode="whole", size_divisor=32, boundaries=dict(edge_tolerance=0.0075))
