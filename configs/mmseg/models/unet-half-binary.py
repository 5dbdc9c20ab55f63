# For a foreground far smaller than the background. MMSegmentation starts the classifier's weights at .01, so that
# Adam's first steps make every feature speak for the background; only a bias then speaks for the foreground, and after
# 400 iterations some trainings gave no pixel of it more than .6. Started at .3, the features keep both signs.
_base_ = ["./unet-half.py"]
model = dict(decode_head=dict(init_cfg=dict(type="Normal", std=0.3, override=dict(name="conv_seg"))))
