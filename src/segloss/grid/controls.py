"""Controls: cells that are evaluated like all others but not trained, the ceiling and the floor of a table.

They depend on the data sets alone, so a grid has each of them once per data set. Imports no torch.
"""

from segloss.grid.cells import Cell

CONTROL = "control"  # in place of the model in their cells
POSTERIOR, FREQUENCIES, MAJORITY = "true-posterior", "class-frequencies", "majority-class"
# Names in place of the loss in their cells, and titles: in a table they are rows alongside the losses.
CONTROLS = {POSTERIOR: "True posterior", FREQUENCIES: "Class frequencies", MAJORITY: "Majority class"}
MEANING = (
    "Controls are not trained: every pixel is predicted with the probabilities that the labels are drawn from (true "
    "posterior), with the shares of the classes in the training labels (class frequencies), or with the most frequent "
    "class. They are excluded from tests, ranks and marks."
)


def control_cell(dataset: str, control: str) -> Cell:
    """The cell of a control on a data set."""
    return Cell(dataset, CONTROL, "none", "hard", control, 0)
