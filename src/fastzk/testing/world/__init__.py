"""Whole nodes below their sockets, in one process and in simulated time, run from one number: see world.py, the door."""
