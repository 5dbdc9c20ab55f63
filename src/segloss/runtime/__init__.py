"""Processes: GPU leases, torchrun, and a fork server that shares imports. Imports nothing else of segloss."""
