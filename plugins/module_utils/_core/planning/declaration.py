# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Declaration of a fine-tune: its options, parsed and validated once."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import re
import typing as t

from ..datasets import registry
from ..errors import InputError
from ..estimates import host
from ..releases import gate as releases_gate
from ..releases.retention import Policy
from ..runs.names import FINETUNE_NAME
from ..training import adapter_export, hyperparameters, stages
from ..training.hyperparameters import Hyperparameters
from . import retraining

#: Options of a fine-tune in addition to the hyperparameters. A test compares them with the role's argument_specs.
OPTIONS: dict[str, dict[str, t.Any]] = {
    "name": {"type": "str", "required": True},
    "base_model": {"type": "str", "required": True},
    "base_revision": {"type": "str", "default": "main"},
    "dataset": {"type": "str", "required": True},
    "system": {"type": "str"},
    "parameters": {"type": "dict", "default": {}},
    "aliases": {"type": "list", "elements": "str", "default": ["latest"]},
    "register": {"type": "bool", "default": True},
    "memory_check": {"type": "str", "default": "enforce", "choices": list(host.CHECKS)},
    "gate": {"type": "dict", "default": {}},
    "export": {"type": "str", "default": "merged", "choices": list(adapter_export.EXPORTS)},
    "regenerate": {"type": "str", "default": "on_change", "choices": list(retraining.POLICIES)},
    "regenerate_on": {
        "type": "list",
        "elements": "str",
        "default": list(retraining.INPUTS),
        "choices": list(retraining.INPUTS),
    },
    "keep": {"type": "int"},
    "keep_intermediates": {"type": "bool", "default": True},
    "nodes": {"type": "list", "elements": "str"},
}

_NAME = re.compile(rf"{FINETUNE_NAME}\Z")


@dataclasses.dataclass(frozen=True)
class Declared:
    """A validated declaration of a fine-tune."""

    name: str
    base_model: str
    base_revision: str
    dataset: str
    system: str | None
    parameters: dict[str, t.Any]
    aliases: tuple[str, ...]
    register: bool
    memory_check: str
    gate: dict[str, t.Any] | None
    export: str
    retraining_inputs: tuple[str, ...]
    always_retrain: bool
    keep: dict[str, t.Any]
    nodes: tuple[str, ...]
    hyper: Hyperparameters


def read_declaration(raw: t.Mapping[str, t.Any], hyper: Hyperparameters | None = None) -> Declared:
    """Parse and validate one entry of ``finetunes``.

    :param hyper: the hyperparameters in ``raw``, if they have been checked already.
    :raises InputError: naming the invalid option, in ``details["options"]`` too.
    """
    label = str(raw.get("name") or "a fine-tune")
    for key in raw:
        if key not in OPTIONS and difflib.get_close_matches(str(key), list(OPTIONS), 1, 0.85):
            suggestion = difflib.get_close_matches(str(key), list(OPTIONS), 1, 0.85)[0]
            raise InputError(f"{label}: there is no option {key!r}.", f"Did you mean {suggestion}?")
    values: dict[str, t.Any] = {name: raw.get(name) for name in OPTIONS}
    for name, option in OPTIONS.items():
        if values[name] is None:
            if option.get("required"):
                raise InputError(f"{label}: {name} is missing.")
            values[name] = option.get("default")
        elif option["type"] != "list" and values[name] not in option.get("choices", (values[name],)):
            message = f"{label}: {name} must be one of {', '.join(option['choices'])}, not {values[name]!r}."
            raise InputError(message, details={"options": [name]})
    name = str(values["name"])
    if not _NAME.match(name):
        raise InputError(
            f"{name!r} is not a name for a model.",
            "Use letters, digits, '.', '_' and '-', at most 80, a letter first.",
            {"options": ["name"]},
        )
    with _naming("regenerate_on"):
        inputs = retraining.retraining_inputs(label, str(values["regenerate"]), values["regenerate_on"])
    try:
        with _naming("gate"):
            gate = read_gate(values["gate"], values["aliases"])
        if hyper is None:
            hyper = hyperparameters.normalise({key: raw[key] for key in raw if key not in OPTIONS})
        register = stages.is_registered(hyper["stage"], raw.get("register"))
    except InputError as error:
        raise InputError(f"{label}: {error.message}", error.hint, error.details) from error
    return Declared(
        name=name,
        base_model=str(values["base_model"]),
        base_revision=str(values["base_revision"]),
        dataset=registry.dataset_name(str(values["dataset"])),
        system=values["system"],
        parameters=dict(values["parameters"]),
        aliases=tuple(values["aliases"]),
        register=register,
        memory_check=str(values["memory_check"]),
        gate=gate,
        export=str(values["export"]),
        retraining_inputs=inputs,
        always_retrain=values["regenerate"] == "always",
        keep=_read_policy(label, values["keep"], bool(values["keep_intermediates"])),
        nodes=tuple(map(str, [values["nodes"]] if isinstance(values["nodes"], str) else values["nodes"] or [])),
        hyper=hyper,
    )


@contextlib.contextmanager
def _naming(option: str) -> t.Iterator[None]:
    """Name the option in the details of an error."""
    try:
        yield
    except InputError as error:
        raise InputError(error.message, error.hint, {**error.details, "options": [option]}) from error


def _read_policy(label: str, keep: t.Any, intermediates: bool) -> dict[str, t.Any]:
    if keep is not None and (not str(keep).isdigit() or int(keep) < 1):
        message = f"{label}: keep is a number of versions, at least 1, not {keep!r}."
        raise InputError(message, details={"options": ["keep"]})
    return Policy(int(keep) if keep is not None else None, intermediates).as_settings()


def read_gate(raw: t.Any, aliases: t.Sequence[str]) -> dict[str, t.Any] | None:
    """Return the settings of a declared gate; None if no gate is declared.

    :raises InputError: for an invalid gate, or a gate without aliases to protect.
    """
    gate = releases_gate.read_gate(raw)
    if gate is not None and not aliases:
        raise InputError("A gate is declared, and no aliases that stand behind it.", "Give aliases, such as [latest].")
    return gate.as_settings() if gate else None
