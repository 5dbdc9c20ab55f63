# For a foreground far smaller than the background. MMSegmentation initialises the classifier's weights with a standard
# deviation of .01, so Adam's first steps make every feature favour the background; only a bias then favours the
# foreground, and after 400 iterations some trainings gave no foreground pixel more than .6. With .3, the features keep
# both signs.
_base_ = ["./unet-half.py"]
model = dict(decode_head=dict(init_cfg=dict(type="Normal", std=0.3, override=dict(name="conv_seg"))))
