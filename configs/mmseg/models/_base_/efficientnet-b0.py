# EfficientNet-B0, decoder of width 128.
_base_ = ["./timm.py"]
model = dict(
    backbone=dict(model_name="efficientnet_b0"),
    decode_head=dict(in_channels=320, channels=128),
    auxiliary_head=dict(in_channels=112, channels=64),
)
imagenet = {
    "file": "efficientnet_b0_ra-3dd342df.pth",
    "url": "https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-weights/efficientnet_b0_ra-3dd342df.pth",
    "megabytes": 21.3,
    "licence": "Apache-2.0",
}
