"""The list of test figures: every module here registers its own, in the order of the modules' names."""
