# UPerNet on MiT-B4.
_base_ = ["./segformer-mit-b4.py"]
model = dict(
    decode_head=dict(type="UPerHead", channels=512, pool_scales=(1, 2, 3, 6)),
    auxiliary_head=dict(
        type="FCNHead",
        in_channels=320,
        in_index=2,
        channels=256,
        num_convs=1,
        concat_input=False,
        dropout_ratio=0.1,
        num_classes=19,
        norm_cfg=dict(type="SyncBN", requires_grad=True),
        align_corners=False,
        loss_decode=dict(type="CrossEntropyLoss", loss_weight=1.0),
    ),
)
