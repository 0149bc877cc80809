"""Annotations: the run-length code, tables of it, and the merged masks."""
