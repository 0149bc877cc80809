"""Published configurations as overlays of params.yaml: read, shown, applied, or turned into arguments of DVC."""

from pneumoseg.config.recipes.edit import edit_yaml
from pneumoseg.config.recipes.overlay import Change, changes, merge
from pneumoseg.config.recipes.overrides import override_arguments
from pneumoseg.config.recipes.recipe import Recipe, load_recipe, load_recipes

__all__ = ["Change", "Recipe", "changes", "edit_yaml", "load_recipe", "load_recipes", "merge", "override_arguments"]
