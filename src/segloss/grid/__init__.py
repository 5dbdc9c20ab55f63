"""What a grid file asks for: its cells, their settings and resources, read from configs/. Imports no torch."""

from segloss.grid.cells import (
    Cell,
    Grid,
    config_hash,
    grid_file,
    hash_of,
    load_grid,
    seed,
    settings,
    teachers,
    why_skipped,
)

__all__ = [
    "Cell",
    "Grid",
    "config_hash",
    "grid_file",
    "hash_of",
    "load_grid",
    "seed",
    "settings",
    "teachers",
    "why_skipped",
]
