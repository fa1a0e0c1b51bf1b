# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The versions of a model as the whole host knows them: with the runs that are making one."""

from __future__ import annotations

import typing as t

from ._layout import Layout
from ._ollama import Ollama
from ._release import Change, Releases, content_tag
from ._store import Store


def in_the_making(layout: Layout, name: str) -> list[str]:
    """Full names of the versions of a model that active runs are to promote. Reads only."""
    found = []
    for record in Store(layout).active():
        for step in record.run.steps if record.run and record.at_work else ():
            spec = step.spec
            if spec.kind == "register" and spec.options.get("aliases"):
                model = str(spec.settings["name"])
                if model.lower() == name.lower():
                    found.append(content_tag(model, spec.fingerprint, str(spec.options["quantization"])))
    return found


def rollback(layout: Layout, ollama: Ollama, name: str, version: str = "", check: bool = False) -> Change:
    """Put an earlier version back under the tags people use, and hold it there, also against what is being made.

    :param name: the model's name, without a tag.
    :param version: tag of a version, or the beginning of one; by default the one before.
    :param check: only tell.
    :raises InputError: when there is nothing to go back to.
    """
    releases = Releases(layout, name)
    against: t.Sequence[str] = in_the_making(layout, name)
    if check:
        return releases.plan_rollback(ollama.tags(), version, against)
    return releases.rollback(ollama, version, against)
