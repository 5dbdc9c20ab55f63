# A U-Net with EfficientNet-Lite0 as its encoder: takes half as long again as fpn-lite0 (reports/decoders).
_base_ = ["./deeplabv3plus-lite0.py"]
model = dict(
    backbone=dict(out_indices=(0, 1, 2, 3, 4)),
    decode_head=dict(
        _delete_=True,
        type="UNetHead",
        in_channels=(16, 24, 40, 112, 320),
        in_index=(0, 1, 2, 3, 4),
        channels=32,
        dropout_ratio=0.1,
        num_classes=19,
        norm_cfg=dict(type="SyncBN", requires_grad=True),
        align_corners=False,
        loss_decode=dict(type="CrossEntropyLoss", loss_weight=1.0),
    ),
)
