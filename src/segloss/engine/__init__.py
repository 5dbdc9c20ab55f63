"""The only room that imports MMEngine, MMSegmentation and timm.

Importing it registers the losses, segmentors, data sets and transforms of segloss in MMSegmentation's registries::

    custom_imports = dict(imports=["segloss.engine"])
    ... loss_decode=dict(type="JaccardMetricLoss") ...
"""

try:
    from segloss.engine.mmcv_stub import import_mmseg

    import_mmseg()
except ModuleNotFoundError as error:
    package = (error.name or str(error)).partition(".")[0]
    raise ImportError(
        f"segloss.engine needs {package}, which is not installed: pip install 'segloss[bench]'"
    ) from error

from segloss.engine import augmentation, data, segmentors, unet_head  # noqa: F401
from segloss.engine.losses import register_losses

register_losses()
