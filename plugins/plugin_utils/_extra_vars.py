# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which extra variables (``-e``) the playbooks take.

Ansible ignores a variable that nothing uses: a misspelled one would have the play do something else than was asked for.
"""

from __future__ import annotations

import difflib
import functools
import os
import typing as t

import yaml

#: Names of an earlier version, with the present ones.
RENAMED = {
    "model": "finetune_name",
    "plan": "finetune_plan_file",
    "run": "finetune_run",
    "version": "finetune_version",
    "release": "finetune_release",
    "limit": "finetune_limit",
    "finetune_plan": "finetune_plan_file",
}

#: Variables of a single command, with the playbooks that take them.
PLAYBOOKS = {
    "finetune_plan_file": ("plan", "finetune"),
    "finetune_name": ("status", "rollback", "cancel", "chat"),
    "finetune_run": ("cancel",),
    "finetune_dismiss": ("cancel",),
    "finetune_version": ("rollback",),
    "finetune_release": ("rollback",),
    "finetune_limit": ("status",),
    "finetune_tools_refresh": ("tools",),
    "finetune_question": ("chat",),
    "finetune_conversation": ("chat",),
    "uninstall_data": ("uninstall",),
    "uninstall_docker": ("uninstall",),
}

#: Variables of the inventory that are no options of a role.
OTHERS = ("finetune_hosts", "finetune_tools_timeout", "finetune_models", "training_service")

_PREFIX = "finetune"
_ROLES = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "roles")
#: How similar a name must be to one of ours to be taken for a misspelling of it: with our prefix, and without it.
_SIMILAR_WITH_PREFIX, _SIMILAR = 0.6, 0.86


@functools.lru_cache(maxsize=1)
def role_options() -> frozenset[str]:
    """Return the options of all roles."""
    names: set[str] = set()
    for role in sorted(os.listdir(_ROLES)):
        path = os.path.join(_ROLES, role, "meta", "argument_specs.yml")
        if os.path.isfile(path):
            with open(path, encoding="utf-8") as stream:
                specs = yaml.safe_load(stream)["argument_specs"]
            names.update(*(spec.get("options") or {} for spec in specs.values()))
    return frozenset(names)


def problems(given: t.Mapping[str, t.Any], takes: t.Sequence[str], needs: t.Sequence[str] = ()) -> list[str]:
    """Return what is wrong with the extra variables of a play, one text for each; empty if nothing is.

    :param given: the extra variables.
    :param takes: those of :data:`PLAYBOOKS` that the play takes.
    :param needs: those of which at least one must be given.
    """
    found = [problem for name in given for problem in [_problem(name, takes)] if problem]
    if needs and not found and not any(given.get(name) for name in needs):
        found.append(f"Give {' or '.join(f'-e {name}=…' for name in needs)}. playbooks/status.yml lists what there is.")
    return found


def _problem(name: str, takes: t.Sequence[str]) -> str:
    if name in takes:
        return ""
    if name in RENAMED:
        return f"The extra variable {name} is called {RENAMED[name]}: write -e {RENAMED[name]}=…"
    if name in PLAYBOOKS:
        verb = "takes" if len(PLAYBOOKS[name]) == 1 else "take"
        books = " and ".join(f"playbooks/{book}.yml" for book in PLAYBOOKS[name])
        return f"This playbook does not use the extra variable {name}: {books} {verb} it."
    known = role_options() | set(OTHERS)
    if name in known:
        return ""
    candidates = sorted({*known, *takes})
    cutoff = _SIMILAR_WITH_PREFIX if name.startswith(_PREFIX) else _SIMILAR
    near = difflib.get_close_matches(name, candidates, 1, cutoff)
    swapped = [old for old in RENAMED if sorted(old) == sorted(name)]
    old = swapped or difflib.get_close_matches(name, sorted(RENAMED), 1, _SIMILAR)
    if old and not near:
        near = [RENAMED[old[0]]]
    if near:
        return f"There is no extra variable {name}. Did you mean {near[0]}?"
    if name.startswith(_PREFIX + "_"):
        return f"There is no extra variable {name}."
    return ""
