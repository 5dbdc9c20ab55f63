"""The only room that imports MMEngine, MMSegmentation and timm.

Importing it registers the losses, segmentors, data sets and transforms of segloss in MMSegmentation's registries::

    custom_imports = dict(imports=["segloss.engine"])
    ... loss_decode=dict(type="JaccardMetricLoss") ...
"""

from segloss.engine.mmcv_stub import import_mmseg

import_mmseg()

from segloss.engine import augmentation, data, segmentors, unet_head  # noqa: E402, F401
from segloss.engine.losses import register_losses  # noqa: E402

register_losses()
