# SegFormer-B5.
_base_ = ["mmseg::_base_/models/segformer_mit-b0.py"]
model = dict(backbone=dict(embed_dims=64, num_layers=[3, 6, 40, 3]), decode_head=dict(in_channels=[64, 128, 320, 512]))
imagenet = {
    "file": "mit_b5_20220624-658746d9.pth",
    "url": "https://download.openmmlab.com/mmsegmentation/v0.5/pretrain/segformer/mit_b5_20220624-658746d9.pth",
}
