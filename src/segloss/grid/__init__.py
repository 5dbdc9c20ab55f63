"""The grid: a grid file resolved once against configs/ into experiments. Imports no torch."""

from segloss.grid.cells import NAME, Cell
from segloss.grid.configs import Configs
from segloss.grid.errors import ConfigError
from segloss.grid.experiments import Experiment, settings_hash
from segloss.grid.grids import Grid, load_grid
from segloss.grid.resolution import resolve

__all__ = ["NAME", "Cell", "ConfigError", "Configs", "Experiment", "Grid", "load_grid", "resolve", "settings_hash"]
