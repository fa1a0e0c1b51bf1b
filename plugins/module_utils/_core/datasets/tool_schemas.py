# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The JSON schema of a tool's parameters with its references replaced by what they refer to.

Chat templates and servers write a schema as it stands, and resolve no reference.
"""

from __future__ import annotations

import typing as t

from ..chat_formats.json_schema import MAX_LEVELS, Fault, map_schemas, resolve
from ..messages.message import Message

#: Schemas that one schema may consist of once its references are replaced.
MAX_SCHEMAS = 2000
#: Keys that hold definitions, and have no meaning once references are replaced.
_DEFINITIONS = ("$defs", "definitions")


class Irreplaceable(Exception):
    """A reference that cannot be replaced; ``fault`` says where and why."""

    def __init__(self, path: str, defect: Message) -> None:
        super().__init__(str(defect))
        self.fault: Fault = (path, defect)


def without_references(schema: t.Mapping[str, t.Any], path: str) -> dict[str, t.Any]:
    """A schema with every reference replaced by what it refers to, and without the definitions.

    :param schema: a valid schema, as ``schema_faults`` has it.
    :param path: how the schema is called in a fault.
    :raises Irreplaceable: for a reference that leads to itself, and a schema that grows too large or too deep.
    """
    made = _Replacing(schema, path).schema(schema, path, (), 0)
    return t.cast("dict[str, t.Any]", made)


class _Replacing:
    def __init__(self, root: t.Mapping[str, t.Any], path: str) -> None:
        self._root = root
        self._path = path
        self._schemas = 0

    def schema(self, value: t.Any, path: str, within: tuple[str, ...], level: int) -> t.Any:
        """A schema; ``within`` are the references that led to it, ``level`` counts the schemas around it."""
        if not isinstance(value, t.Mapping):
            return value
        self._schemas += 1
        if self._schemas > MAX_SCHEMAS:
            raise Irreplaceable(self._path, Message("datasets.schema_too_large", schemas=MAX_SCHEMAS))
        if level > MAX_LEVELS:
            raise Irreplaceable(self._path, Message("datasets.schema_too_deep", levels=MAX_LEVELS))
        if "$ref" in value:
            reference = value["$ref"]
            if reference in within:
                circle = [*within[within.index(reference) :], reference]
                raise Irreplaceable(f"{path}.$ref", Message("datasets.schema_circle", circle=" → ".join(circle)))
            target = resolve(self._root, reference)
            beside = {key: each for key, each in value.items() if key != "$ref"}
            if isinstance(target, t.Mapping):
                beside = {**target, **beside}
            return False if target is False else self.schema(beside, path, (*within, reference), level + 1)
        kept = {key: each for key, each in value.items() if key not in _DEFINITIONS}
        return map_schemas(kept, path, lambda each, where: self.schema(each, where, within, level + 1))
