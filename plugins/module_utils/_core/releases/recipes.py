# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The recipe of a registration: the number of the rules by which the prompt of a model is generated.

The setting ``recipe`` of a registration is part of its fingerprint. Registrations of 0.1.0 have none, which is recipe
1. When the rules change, the number is raised: each model that is declared is then registered again from the same GGUF
file, under another content tag, and its earlier tag remains for a rollback. Nothing is trained or converted again.
"""

from __future__ import annotations

import typing as t

from ..fingerprint import fingerprint

#: 1: templates without tools. 2: templates generated from the registry of LLaMA-Factory, verified by the server.
RECIPE = 2

KIND = "register"
#: The input of a registration that registrations of versions without it do not have: the image encoder.
_ENCODER = "projector"


def recipe_of(settings: t.Mapping[str, t.Any]) -> int:
    """Return the recipe of a registration with these settings."""
    return int(settings.get("recipe") or 1)


def without_recipe(settings: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Return the settings that identify a version whatever its recipe."""
    return {name: value for name, value in settings.items() if name != "recipe"}


def with_recipe(settings: t.Mapping[str, t.Any], recipe: int = RECIPE) -> dict[str, t.Any]:
    """Return the settings of the registration of the same version by another recipe."""
    identity = without_recipe(settings)
    return {**identity, "recipe": recipe} if recipe > 1 else identity


def later_fingerprints(settings: t.Mapping[str, t.Any], upstream: t.Mapping[str, str]) -> tuple[str, ...]:
    """Return the fingerprints of the registrations of the same version by later recipes: of a run of an older version
    of the collection, which continues after an upgrade.
    """
    later = range(recipe_of(settings) + 1, RECIPE + 1)
    return tuple(fingerprint(KIND, with_recipe(settings, recipe), upstream) for recipe in later)


def earlier_fingerprints(settings: t.Mapping[str, t.Any], upstream: t.Mapping[str, str]) -> tuple[str, ...]:
    """Return the fingerprints of the registrations of the same version by earlier recipes, the latest recipe first.

    A version that is registered with the encoder of its base was formerly registered without, by any recipe.
    """
    formerly = {kind: value for kind, value in upstream.items() if kind != _ENCODER}
    latest = recipe_of(settings) if len(formerly) < len(upstream) else recipe_of(settings) - 1
    return tuple(fingerprint(KIND, with_recipe(settings, recipe), formerly) for recipe in range(latest, 0, -1))
