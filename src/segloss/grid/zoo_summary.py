"""Counts of the model zoo by what its configs can be used for, as a Markdown table."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from segloss.grid.mmengine_files import zoo
from segloss.grid.mmengine_values import config_values
from segloss.grid.zoo import cannot_train, named_weights


def zoo_models() -> dict[str, Mapping[str, Any]]:
    """The model of every config of the zoo."""
    return {name: config_values(file)["model"] for name, file in sorted(zoo().items())}


def zoo_summary() -> str:
    """How many configs take which losses and label scenarios, and why the others are skipped."""
    models = zoo_models()
    hard = {name: cannot_train(model, soft=False, pixelwise=False) for name, model in models.items()}
    soft = {name: cannot_train(model, soft=True, pixelwise=False) for name, model in models.items()}
    pixelwise = {name: cannot_train(model, soft=False, pixelwise=True) for name, model in models.items()}
    weights = sum(named_weights(model) is not None for model in models.values())
    works = {
        "every loss and every label scenario": sum(reason is None for reason in soft.values()),
        "every loss on hard labels only": sum(hard[name] is None and soft[name] is not None for name in models),
        "losses that are means over pixels only": sum(
            pixelwise[name] is None and hard[name] is not None for name in models
        ),
    }
    skipped = Counter(reason for reason in pixelwise.values() if reason)
    rows = [f"| {count} | takes {text} |" for text, count in works.items()]
    rows += [f"| {count} | skipped: {reason} |" for reason, count in skipped.most_common()]
    return "\n".join(
        [
            "# The model zoo of MMSegmentation 1.2.2 in segloss",
            "",
            f"{len(models)} configs, `mmseg::<config>` in a grid; with mmcv-lite, without mmpretrain and mmdet.",
            f"{weights} of them name ImageNet weights, which `pretrained: imagenet` uses.",
            "All of it is known before the first job; a test builds every model on torch's meta device",
            "and computes its loss.",
            "",
            "| configs | |",
            "|--:|---|",
            *rows,
            "",
            "BEiT and MAE need crops and windows of their `img_size`; LRASPP needs crops of at least 392 pixels.",
            "",
        ]
    )
