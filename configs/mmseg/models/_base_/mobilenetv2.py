# MobileNetV2, decoder of width 128.
_base_ = ["./timm.py"]
model = dict(
    backbone=dict(model_name="mobilenetv2_100"),
    decode_head=dict(in_channels=320, channels=128),
    auxiliary_head=dict(in_channels=96, channels=64),
)
imagenet = {
    "file": "mobilenetv2_100_ra-b33bc2c4.pth",
    "url": "https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-weights/mobilenetv2_100_ra-b33bc2c4.pth",
    "megabytes": 14.2,
    "licence": "Apache-2.0",
}
