# ConvNeXt-B, decoder of width 512.
_base_ = ["./timm.py"]
model = dict(
    backbone=dict(model_name="convnext_base"),
    decode_head=dict(in_channels=1024, channels=512),
    auxiliary_head=dict(in_channels=512, channels=256),
)
imagenet = {
    "file": "convnext_base.fb_in22k.safetensors",
    "url": "https://huggingface.co/timm/convnext_base.fb_in22k/resolve/main/model.safetensors",
    "megabytes": 439.8,
    "licence": "Apache-2.0",
}
