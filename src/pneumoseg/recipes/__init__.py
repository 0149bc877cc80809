"""Published configurations as overlays of params.yaml: read, shown, applied, or turned into arguments of DVC."""

from pneumoseg.recipes.edit import edit_yaml
from pneumoseg.recipes.overlay import Change, changes, merge
from pneumoseg.recipes.overrides import override_arguments
from pneumoseg.recipes.recipe import Recipe, load_recipe, load_recipes

__all__ = ["Change", "Recipe", "changes", "edit_yaml", "load_recipe", "load_recipes", "merge", "override_arguments"]
