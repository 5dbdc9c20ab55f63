# Xception65, decoder of width 512.
_base_ = ["./timm.py"]
model = dict(
    backbone=dict(model_name="xception65"),
    decode_head=dict(in_channels=2048, channels=512),
    auxiliary_head=dict(in_channels=1024, channels=256),
)
normalisation = dict(mean=[127.5, 127.5, 127.5], std=[127.5, 127.5, 127.5], bgr_to_rgb=True)
imagenet = {
    "file": "xception65.ra3_in1k.safetensors",
    "url": "https://huggingface.co/timm/xception65.ra3_in1k/resolve/main/model.safetensors",
    "megabytes": 160.4,
    "licence": "Apache-2.0",
}
