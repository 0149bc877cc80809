"""``pneumoseg recipe``: published configurations, listed, shown, put into params.yaml, or given to dvc exp run."""

from __future__ import annotations

import argparse
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pneumoseg.config.recipes import Recipe

_PARAMS = Path("params.yaml")
_WIDTH = 100


def register(subparsers: Any) -> None:
    """Add the command to the parser of ``pneumoseg``."""
    parser = subparsers.add_parser(
        "recipe",
        help="published configurations as overlays of params.yaml",
        description="Published configurations, in recipes/. Run it in the folder that holds params.yaml. The scores in "
        "them are their authors'.",
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    actions.add_parser("list", help="one line for each recipe")
    show = actions.add_parser("show", help="source, score, differences, further commands and values of a recipe")
    apply = actions.add_parser("apply", help="write a recipe into params.yaml, keeping its comments")
    apply.add_argument("--check", action="store_true", help="only say what would change")
    overrides = actions.add_parser(
        "overrides",
        help="a recipe as arguments: dvc exp run $(pneumoseg recipe overrides NAME)",
        description="Write -S key=value for each value of a recipe. No argument has a blank, so that the shell splits "
        "them rightly; it leaves their brackets alone, unless a file has such a name or its options nullglob or "
        "failglob are on: switch these off.",
    )
    for action in (show, apply, overrides):
        action.add_argument("name", metavar="NAME")


def run(args: argparse.Namespace) -> int:
    """Do what was asked for; returns the exit code."""
    if args.action == "list":
        sys.stdout.write(_listed())
    elif args.action == "show":
        sys.stdout.write(_shown(args.name))
    elif args.action == "apply":
        sys.stdout.write(_applied(args.name, check=args.check))
    else:
        sys.stdout.write(_overrides(args.name))
    return 0


def _listed() -> str:
    from pneumoseg.config.recipes import load_recipes

    recipes = load_recipes()
    width = max((len(recipe.name) for recipe in recipes), default=0)
    title = max((len(recipe.header.title) for recipe in recipes), default=0)
    lines = [f"{recipe.name:<{width}}  {recipe.header.title:<{title}}  {_score(recipe)}".rstrip() for recipe in recipes]
    return "\n".join(
        [*lines, "", "Scores are their authors', on their own test images: pneumoseg recipe show NAME", ""]
    )


def _score(recipe: Recipe) -> str:
    first = recipe.header.published[0]
    return f"{first.figure} {first.value}" if first.value else "no figure"


def _shown(name: str) -> str:
    from pneumoseg.config.recipes import load_recipe

    recipe = load_recipe(name)
    header = recipe.header
    rank = f" (place {header.source.rank} in SIIM-ACR 2019)" if header.source.rank else ""
    lines = [header.title, "=" * len(header.title), "", *_filled("By", f"{header.source.authors}{rank}")]
    lines += _filled("From", header.source.work)
    for figure in header.published:
        lines += _filled("Published", f"{figure.figure} {figure.value or 'none'}: {figure.measured_on}")
    lines += _filled("Rule", f"{header.rule} Ours is searched by the stage tune.")
    lines += ["", "Where it differs, and why", ""]
    for item in header.differs:
        lines += [f"  {item.point}"]
        for what, text in (("theirs", item.theirs), ("ours", item.ours), ("why", item.why)):
            lines += _filled(f"    {what}", text)
    if header.then:
        lines += ["", "The whole solution", ""]
        for number, step in enumerate(header.then, start=1):
            # A command stays on one line, so that it can be copied.
            lines += [*_filled(f"  {number}.", step.what), f"     {step.run}"]
    lines += ["", "Values (the rest: the defaults; ImageNet weights are downloaded at first use)", ""]
    lines += [recipe.text.rstrip(), ""]
    return "\n".join(lines)


def _filled(label: str, text: str) -> list[str]:
    start = f"{label} " if label.strip().endswith(".") else f"{label + ':':<11} "
    return textwrap.wrap(
        text, _WIDTH, initial_indent=start, subsequent_indent=" " * len(start), break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip


def _applied(name: str, *, check: bool) -> str:
    from pneumoseg.config.edit import edit_file

    told = edit_file(_PARAMS, _checked(name)[0], write=not check)
    end = f"{len(told)} values differ; nothing was written" if check else f"{len(told)} values changed in {_PARAMS}"
    return "\n".join([*map(str, told), end, ""])


def _overrides(name: str) -> str:
    from pneumoseg.config.recipes import override_arguments

    return "\n".join(override_arguments(*_checked(name))) + "\n"


def _checked(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A recipe's values, items such as phases whole, and the content of params.yaml: each valid, and both together."""
    from pneumoseg.config import load_params, parse_params, read_yaml
    from pneumoseg.config.flat import complete_items
    from pneumoseg.config.recipes import load_recipe, merge

    recipe = load_recipe(name)
    load_params(_PARAMS)
    content: dict[str, Any] = read_yaml(_PARAMS)
    params = parse_params(merge(content, recipe.params), f"{_PARAMS} with recipe {name}")
    return complete_items(recipe.params, params.written()), content
