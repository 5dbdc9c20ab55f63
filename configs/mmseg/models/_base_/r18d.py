# ResNet-18-D, decoder of width 128.
_base_ = ["./timm.py"]
model = dict(
    backbone=dict(model_name="resnet18d"),
    decode_head=dict(in_channels=512, channels=128),
    auxiliary_head=dict(in_channels=256, channels=64),
)
imagenet = {
    "file": "resnet18d_ra2-48a79e06.pth",
    "url": "https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-weights/resnet18d_ra2-48a79e06.pth",
    "megabytes": 46.9,
    "licence": "Apache-2.0",
}
