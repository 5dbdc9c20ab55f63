"""Measurements, not tests: what a loss costs, compared with the libraries one would copy it from."""
