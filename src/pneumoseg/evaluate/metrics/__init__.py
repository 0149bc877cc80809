"""The list of test figures: every module here registers its own, in the order of the modules' names."""

from importlib import import_module
from pkgutil import iter_modules

# Whichever module is asked for first: the order of the list is that of tables and of test.json.
for _name in sorted(module.name for module in iter_modules(__path__)):
    import_module(f"{__name__}.{_name}")
