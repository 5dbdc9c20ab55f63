"""Controls in tables: they depend only on the data set, so each is a row of every table of its data set."""

import pandas as pd

from segloss.grid.controls import CONTROL, CONTROLS
from segloss.reports.summary import AXES


def without_controls(results: pd.DataFrame) -> pd.DataFrame:
    """The rows of a results table that are not a control's; without controls, the table unchanged."""
    return results[~results.loss.isin(list(CONTROLS))]


def with_controls(results: pd.DataFrame) -> pd.DataFrame:
    """A results table whose controls are rows of every model, schedule and label scenario of their data set.

    They come last; a table without controls is unchanged.
    """
    controls = results[results.model == CONTROL].drop(columns=AXES[1:4])
    if controls.empty:
        return results
    trained = results[results.model != CONTROL]
    points = trained[AXES[:4]].drop_duplicates()
    return pd.concat([trained, points.merge(controls, on="dataset")[results.columns]], ignore_index=True)
