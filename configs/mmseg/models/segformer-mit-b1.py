# SegFormer-B1.
_base_ = ["mmseg::_base_/models/segformer_mit-b0.py"]
model = dict(backbone=dict(embed_dims=64), decode_head=dict(in_channels=[64, 128, 320, 512]))
imagenet = {
    "file": "mit_b1_20220624-02e5a6a1.pth",
    "url": "https://download.openmmlab.com/mmsegmentation/v0.5/pretrain/segformer/mit_b1_20220624-02e5a6a1.pth",
}
