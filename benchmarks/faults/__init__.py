"""Fault injection: processes killed at random instants, files damaged, a disk filled, clocks shifted.

After every fault the grid is finished as a user would finish it, by starting it again, and its outputs must equal those
of an undisturbed grid. ``python -m benchmarks.faults`` runs the whole campaign; the tests run a small part of it.
"""
