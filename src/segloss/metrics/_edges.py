"""Boundary IoU, normalised surface Dice, ODS and OIS from counts of boundaries."""

from collections.abc import Mapping

import numpy as np

Rows = dict[str, np.ndarray]


def boundary_metrics(rows: Rows) -> dict[str, float]:
    """The metrics that `rows`, of images with a valid pixel, allow; a metric that would divide by zero is left out."""
    result = {}
    if "region_both" in rows:
        both, true, predicted = (rows[f"region_{name}"].sum(0) for name in ("both", "true", "predicted"))
        result["mBoundaryIoU"] = 100 * _mean(_share(both, true + predicted - both))
    if "surface_true" in rows:
        near = rows["surface_true_near"] + rows["surface_predicted_near"]
        surface = rows["surface_true"] + rows["surface_predicted"]
        result["mNSD"] = 100 * _mean(_share(near.sum(0), surface.sum(0)))
        result["mNSD_I"] = 100 * _mean(np.array([_mean(image) for image in _share(near, surface)]))
    if "edge_true" in rows:
        result["ODS"], result["OIS"] = (100 * score for score in edge_scores(rows))
    return {name: value for name, value in result.items() if not np.isnan(value)}


def edge_scores(rows: Rows) -> tuple[float, float]:
    """ODS and OIS as shares, NaN where no image has an edge.

    At each threshold, precision is over all predicted and recall over all true edge pixels of all images. ODS is the
    largest F at one threshold for all images; OIS takes each image's own best threshold, the lowest if several tie.
    """
    counts = edges_by_threshold(rows)
    if not counts[:, 3].any():
        return np.nan, np.nan
    best = np.argmax(np.nan_to_num(_f_score(*counts.swapaxes(0, 1)), nan=-1), axis=1)
    of_best = np.take_along_axis(counts, best[:, None, None], 2)[..., 0]
    return float(_best_score(counts.sum(0))), float(_f_score(*of_best.sum(0)))


def edges_by_threshold(rows: Mapping[str, np.ndarray]) -> np.ndarray:
    """Precise, predicted, recalled and true edge pixels of each image at the thresholds .01 to .99: (n, 4, 99)."""
    predicted, precise, recalled = (
        np.flip(np.cumsum(np.flip(rows[name], 1), 1), 1)[:, 1:]
        for name in ("edge_predicted", "edge_predicted_near", "edge_true")
    )
    true = np.broadcast_to(rows["edge_true"].sum(1, keepdims=True), predicted.shape)
    return np.stack([precise, predicted, recalled, true], 1)


def optimal_dataset_scale(edges: np.ndarray) -> np.ndarray:
    """`ODS` of summed edge pixels (..., 4, 99) as of `edges_by_threshold`, in percent: (...); NaN without an edge."""
    return 100 * _best_score(edges)


def _best_score(edges: np.ndarray) -> np.ndarray:
    counts = np.moveaxis(edges, -2, 0)
    return np.where(counts[3, ..., 0] > 0, np.max(np.nan_to_num(_f_score(*counts)), -1), np.nan)


def _f_score(precise: np.ndarray, predicted: np.ndarray, recalled: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Harmonic mean of precision and recall; 0 where one is 0, NaN where there is neither a prediction nor an edge."""
    precision, recall = _share(precise, predicted), _share(recalled, true)
    precision, recall = np.nan_to_num(precision), np.nan_to_num(recall)
    score = _share(2 * precision * recall, precision + recall)
    return np.where(predicted + true > 0, np.nan_to_num(score), np.nan)


def _mean(scores: np.ndarray) -> float:
    """Mean of the scores that are defined, NaN if none is."""
    defined = scores[~np.isnan(scores)]
    return float(defined.mean()) if len(defined) else np.nan


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0)
