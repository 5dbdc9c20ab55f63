# ResNet-34-D, decoder of width 128.
_base_ = ["./timm.py"]
model = dict(
    backbone=dict(model_name="resnet34d"),
    decode_head=dict(in_channels=512, channels=128),
    auxiliary_head=dict(in_channels=256, channels=64),
)
imagenet = {
    "file": "resnet34d_ra2-f8dcfcaf.pth",
    "url": "https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-weights/resnet34d_ra2-f8dcfcaf.pth",
    "megabytes": 87.3,
    "licence": "Apache-2.0",
}
