"""Probability maps from trained models."""
