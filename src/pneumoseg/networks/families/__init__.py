"""A package for each family of networks."""
