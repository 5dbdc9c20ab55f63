# ResNet-101-D, decoder of width 512.
_base_ = ["./timm.py"]
model = dict(
    backbone=dict(model_name="resnet101d"),
    decode_head=dict(in_channels=2048, channels=512),
    auxiliary_head=dict(in_channels=1024, channels=256),
)
imagenet = {
    "file": "resnet101d_ra2-2803ffab.pth",
    "url": "https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-weights/resnet101d_ra2-2803ffab.pth",
    "megabytes": 178.7,
    "licence": "Apache-2.0",
}
