"""Measures speed: timing in turn, the machine's limits, and the networks that are compared."""
