"""Chest radiograph phantoms: made up from a seed, written in SIIM layout. No patient stands behind them."""

from pneumoseg.phantom.writer import Phantom, generate, render_phantom

__all__ = ["Phantom", "generate", "render_phantom"]
