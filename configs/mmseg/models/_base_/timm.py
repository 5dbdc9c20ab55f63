# A backbone of timm at stride 8, a decode head on its last stage and an auxiliary head on the one before: the articles
# on the JDT losses (arXiv 2302.05666, 2303.16296, 2310.19252). Dropout .1.
norm_cfg = dict(type="SyncBN", requires_grad=True)
common = dict(
    dropout_ratio=0.1,
    num_classes=19,
    norm_cfg=norm_cfg,
    align_corners=False,
    loss_decode=dict(type="CrossEntropyLoss", loss_weight=1.0),
)
model = dict(
    type="EncoderDecoder",
    backbone=dict(type="TIMMBackbone", features_only=True, pretrained=False, out_indices=(1, 2, 3, 4), output_stride=8),
    decode_head=dict(in_index=3, **common),
    auxiliary_head=dict(type="FCNHead", in_index=2, num_convs=1, concat_input=False, **common),
    train_cfg=dict(),
)
