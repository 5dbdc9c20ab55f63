"""Semantic-segmentation losses under soft labels: a library and a reproducible benchmark."""

__version__ = "0.1.0"
