# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The JSON schema of a tool's parameters: its faults with their paths, and its references replaced by their targets.

Only references inside of the same schema (``#/$defs/…``) are supported: chat templates and servers write a schema as it
stands, and a model sees no document beside it.
"""

from __future__ import annotations

import typing as t

from ..errors import InputError
from ..messages.message import Message
from .problems import kind_of, shown

#: Path, and what is wrong there.
SchemaFault = tuple[str, Message]

TYPES = ("string", "integer", "number", "boolean", "object", "array", "null")
#: Levels of a schema; a reference counts as the levels of its target.
MAX_LEVELS = 32
#: Schemas that one schema may consist of once its references are replaced.
MAX_SCHEMAS = 2000
#: Keys of one schema.
_SCHEMA_KEYS = ("not", "contains", "propertyNames", "if", "then", "else")
#: Keys of a schema, or true or false.
_OPEN_KEYS = ("additionalProperties", "unevaluatedProperties", "additionalItems", "unevaluatedItems")
_LIST_KEYS = ("anyOf", "oneOf", "allOf", "prefixItems")
_MAP_KEYS = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_TEXT_KEYS = ("description", "title", "format", "pattern", "$ref")
_NUMBER_KEYS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
_COUNT_KEYS = ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")
#: Keys that hold definitions, and have no meaning once references are replaced.
_DEFINITIONS = ("$defs", "definitions")


def schema_faults(schema: t.Any, path: str, level: int = 0) -> t.Iterator[SchemaFault]:
    """The faults of a schema and of all schemas in it.

    :param path: where it stands, such as ``[0].function.parameters``.
    """
    if not isinstance(schema, t.Mapping):
        yield path, Message("datasets.schema_no_object", kind=kind_of(schema))
        return
    if level > MAX_LEVELS:
        yield path, Message("datasets.schema_too_deep", levels=MAX_LEVELS)
        return
    yield from _type_faults(schema, path)
    yield from _value_faults(schema, path)
    for key in _SCHEMA_KEYS:
        if key in schema:
            yield from schema_faults(schema[key], f"{path}.{key}", level + 1)
    for key in _OPEN_KEYS:
        if key in schema and not isinstance(schema[key], bool):
            yield from schema_faults(schema[key], f"{path}.{key}", level + 1)
    if "items" in schema and not isinstance(schema["items"], bool):
        yield from schema_faults(schema["items"], f"{path}.items", level + 1)
    for key in _LIST_KEYS:
        if key in schema:
            value = schema[key]
            if not isinstance(value, list) or not value:
                yield f"{path}.{key}", Message("datasets.schema_no_list", kind=kind_of(value))
                continue
            for number, each in enumerate(value):
                yield from schema_faults(each, f"{path}.{key}[{number}]", level + 1)
    for key in _MAP_KEYS:
        if key in schema:
            if not isinstance(schema[key], t.Mapping):
                yield f"{path}.{key}", Message("datasets.schema_map_no_object", kind=kind_of(schema[key]))
                continue
            for name, each in schema[key].items():
                yield from schema_faults(each, f"{path}.{key}.{name}", level + 1)


def _type_faults(schema: t.Mapping[str, t.Any], path: str) -> t.Iterator[SchemaFault]:
    if "type" not in schema:
        return
    kinds = schema["type"]
    for kind in kinds if isinstance(kinds, list) and kinds else [kinds]:
        if not isinstance(kind, str) or kind not in TYPES:
            yield f"{path}.type", Message("datasets.schema_type_unknown", value=shown(kind), types=list(TYPES))


def _value_faults(schema: t.Mapping[str, t.Any], path: str) -> t.Iterator[SchemaFault]:
    if "required" in schema:
        required = schema["required"]
        if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
            yield f"{path}.required", Message("datasets.schema_required_no_names", kind=kind_of(required))
        else:
            for name in required:
                properties = schema.get("properties")
                if isinstance(properties, t.Mapping) and name not in properties:
                    yield f"{path}.required", Message("datasets.schema_required_unknown", name=name)
    if "enum" in schema and (not isinstance(schema["enum"], list) or not schema["enum"]):
        yield f"{path}.enum", Message("datasets.schema_no_list", kind=kind_of(schema["enum"]))
    for key in _TEXT_KEYS:
        if key in schema and not isinstance(schema[key], str):
            yield f"{path}.{key}", Message("datasets.schema_no_text", kind=kind_of(schema[key]))
    for key in (*_NUMBER_KEYS, *_COUNT_KEYS):
        value = schema.get(key)
        if key in schema and (isinstance(value, bool) or not isinstance(value, (int, float))):
            yield f"{path}.{key}", Message("datasets.schema_no_number", kind=kind_of(value))


def without_references(schema: t.Mapping[str, t.Any], path: str) -> dict[str, t.Any]:
    """A schema with every reference replaced by what it refers to, and without the definitions.

    :param path: where it stands.
    :raises InputError: for a reference to nothing, to another document, or to itself, and for a schema that grows too
        large. The path of the reference is named.
    """
    return t.cast("dict[str, t.Any]", _Replacing(schema, path).schema(schema, path, ()))


class _Replacing:
    def __init__(self, root: t.Mapping[str, t.Any], path: str) -> None:
        self._root = root
        self._path = path
        self._schemas = 0

    def schema(self, value: t.Any, path: str, within: tuple[str, ...]) -> t.Any:
        """A schema; ``within`` are the references that led to it."""
        if not isinstance(value, t.Mapping):
            return value
        self._schemas += 1
        if self._schemas > MAX_SCHEMAS:
            raise InputError("datasets.schema_too_large", path=self._path, schemas=MAX_SCHEMAS)
        if "$ref" in value:
            reference = value["$ref"]
            target = self._target(reference, f"{path}.$ref")
            if reference in within:
                circle = [*within[within.index(reference) :], reference]
                raise InputError("datasets.schema_circle", path=f"{path}.$ref", circle=" → ".join(circle))
            beside = {key: each for key, each in value.items() if key != "$ref"}
            return self.schema({**target, **beside}, path, (*within, str(reference)))
        made: dict[str, t.Any] = {}
        for key, each in value.items():
            where = f"{path}.{key}"
            if key in _DEFINITIONS:
                continue
            if key in (*_SCHEMA_KEYS, *_OPEN_KEYS, "items"):
                made[key] = self.schema(each, where, within)
            elif key in _LIST_KEYS and isinstance(each, list):
                made[key] = [self.schema(one, f"{where}[{n}]", within) for n, one in enumerate(each)]
            elif key in _MAP_KEYS and isinstance(each, t.Mapping):
                made[key] = {name: self.schema(one, f"{where}.{name}", within) for name, one in each.items()}
            else:
                made[key] = each
        return made

    def _target(self, reference: t.Any, path: str) -> t.Mapping[str, t.Any]:
        if not isinstance(reference, str) or not reference.startswith("#"):
            raise InputError("datasets.schema_reference_elsewhere", path=path, reference=shown(reference))
        target: t.Any = self._root
        for part in reference[1:].strip("/").split("/") if reference.strip("#/") else []:
            key = part.replace("~1", "/").replace("~0", "~")
            if isinstance(target, list) and key.isdigit() and int(key) < len(target):
                target = target[int(key)]
            elif isinstance(target, t.Mapping) and key in target:
                target = target[key]
            else:
                raise InputError("datasets.schema_reference_missing", path=path, reference=reference)
        if not isinstance(target, t.Mapping):
            raise InputError("datasets.schema_reference_missing", path=path, reference=reference)
        return target
