"""A campaign against the benchmark: processes killed at random instants, files damaged, a disk filled, clocks moved.

After every fault the grid is finished as a user would finish it, by starting it again, and what it leaves must be what
an undisturbed grid leaves. ``python -m benchmarks.faults`` runs it all; the tests run a small part.
"""
