"""Experiments side by side: the same images, paired differences with intervals, and a page that says what they show."""
