# MobileViTV2, decoder of width 128.
_base_ = ["./timm.py"]
model = dict(
    backbone=dict(model_name="mobilevitv2_100"),
    decode_head=dict(in_channels=512, channels=128),
    auxiliary_head=dict(in_channels=384, channels=64),
)
normalisation = dict(mean=[0.0, 0.0, 0.0], std=[255.0, 255.0, 255.0], bgr_to_rgb=True)
imagenet = {
    "file": "mobilevitv2_100.cvnets_in1k.safetensors",
    "url": "https://huggingface.co/timm/mobilevitv2_100.cvnets_in1k/resolve/main/model.safetensors",
    "megabytes": 19.7,
    "licence": "cvnets-license",
}
