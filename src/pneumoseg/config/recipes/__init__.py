"""Published configurations as overlays of params.yaml: read, shown, applied, or turned into arguments of DVC."""

from pneumoseg.config.flat import merge
from pneumoseg.config.recipes.overrides import override_arguments
from pneumoseg.config.recipes.recipe import Recipe, load_recipe, load_recipes

__all__ = ["Recipe", "load_recipe", "load_recipes", "merge", "override_arguments"]
