# ResNet-50-D, decoder of width 512.
_base_ = ["./timm.py"]
model = dict(
    backbone=dict(model_name="resnet50d"),
    decode_head=dict(in_channels=2048, channels=512),
    auxiliary_head=dict(in_channels=1024, channels=256),
)
imagenet = {
    "file": "resnet50d_ra2-464e36ba.pth",
    "url": "https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-weights/resnet50d_ra2-464e36ba.pth",
    "megabytes": 102.5,
    "licence": "Apache-2.0",
}
