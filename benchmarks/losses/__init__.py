"""Measurements that are no tests: what a loss costs, beside the libraries one would copy it from."""
