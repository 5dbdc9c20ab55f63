# SegFormer-B0.
_base_ = ["mmseg::_base_/models/segformer_mit-b0.py"]
imagenet = {
    "file": "mit_b0_20220624-7e0fe6dd.pth",
    "url": "https://download.openmmlab.com/mmsegmentation/v0.5/pretrain/segformer/mit_b0_20220624-7e0fe6dd.pth",
}
