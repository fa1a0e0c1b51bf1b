# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""JSON schemas of tools: whether one is valid, and whether the arguments of a call are as it says.

Follows draft 2020-12, and accepts what earlier drafts spell differently: ``definitions``, ``items`` as a list of
schemas, ``exclusiveMinimum`` as a boolean. A keyword that JSON Schema does not have is an annotation, and valid.
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
import json
import math
import operator
import typing as t

from ..messages.message import Message
from ..messages.suggestions import nearest
from ..system import limited_regex

#: A path, such as ``tools[0].parameters.required``, and what is wrong there.
Fault = tuple[str, Message]

TYPES = ("array", "boolean", "integer", "null", "number", "object", "string")
#: Levels of schemas in schemas; deeper ones are refused, so that checking them always ends.
MAX_LEVELS = 64

_TEXTS = ("$id", "$schema", "$ref", "$anchor", "$comment", "title", "description", "format", "pattern")
_COUNTS = (
    *("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties", "minContains", "maxContains"),
)
_LIMITS = ("minimum", "maximum", "multipleOf")
_EXCLUSIVE_LIMITS = ("exclusiveMinimum", "exclusiveMaximum")
#: Whether a number is beyond a limit, by keyword.
_BEYOND: dict[str, t.Callable[[float, float], bool]] = {
    "minimum": operator.lt,
    "maximum": operator.gt,
    "exclusiveMinimum": operator.le,
    "exclusiveMaximum": operator.ge,
}
_SCHEMAS = (
    *("additionalProperties", "unevaluatedProperties", "unevaluatedItems", "additionalItems", "propertyNames"),
    *("contains", "not", "if", "then", "else"),
)
_LISTS_OF_SCHEMAS = ("anyOf", "oneOf", "allOf", "prefixItems")
_SCHEMAS_BY_NAME = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
#: Keywords that values are compared with, and those that only describe.
_COMPARED = (
    *("$ref", "type", "enum", "const", "required", "pattern", "uniqueItems", *_LISTS_OF_SCHEMAS, "not", "items"),
    *("additionalItems", "properties", "patternProperties", "additionalProperties", *_LIMITS, *_EXCLUSIVE_LIMITS),
    *("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"),
)
_DESCRIBING = (
    *("$id", "$schema", "$anchor", "$comment", "$defs", "definitions", "title", "description", "default", "examples"),
    *("deprecated", "readOnly", "writeOnly"),
)
#: Other keywords of JSON Schema.
_OF_JSON_SCHEMA = (
    *("format", "if", "then", "else", "contains", "minContains", "maxContains", "propertyNames", "dependentSchemas"),
    *("dependentRequired", "dependencies", "unevaluatedProperties", "unevaluatedItems", "contentEncoding"),
    *("contentMediaType", "contentSchema", "$dynamicRef", "$dynamicAnchor", "$vocabulary", "$recursiveRef"),
)
#: Keywords that apply their schemas to the same value, not to a part of it; and ``not``.
_IN_PLACE = ("anyOf", "oneOf", "allOf")


def schema_faults(schema: t.Any, path: str) -> list[Fault]:
    """Everything that is invalid in a schema.

    :param path: how the schema is called in the faults.
    """
    faults = list(_faults(schema, path, 0))
    if not faults and isinstance(schema, t.Mapping):
        faults += _reference_faults(schema, path)
    return faults


def unchecked(schema: t.Any, path: str) -> list[Fault]:
    """The keywords of a valid schema that :func:`value_faults` does not compare values with, unknown ones among them.

    A value that they exclude would pass. Keywords that describe, and allow every value, are none of them.

    :param path: how the schema is called in the faults.
    """
    faults: list[Fault] = []
    for each, where in _walk(schema, path):
        for key, value in each.items():
            if key in _COMPARED or key in _DESCRIBING:
                if key in _EXCLUSIVE_LIMITS and isinstance(value, bool):
                    faults.append((f"{where}.{key}", Message("chat_formats.schema_no_number", value=_shown(value))))
                continue
            facts = {"keyword": key, "suggestion": None if key in _OF_JSON_SCHEMA else nearest(key, _COMPARED)}
            faults.append((f"{where}.{key}", Message("chat_formats.keyword_unchecked", **facts)))
        patterns = [each["pattern"]] if "pattern" in each else []
        for pattern in [*patterns, *each.get("patternProperties", ())]:
            reason = limited_regex.search(pattern, "")
            if isinstance(reason, str):
                facts = {"pattern": _shown(pattern), "reason": reason}
                faults.append((where, Message("chat_formats.pattern_unreadable", **facts)))
    return faults


def _faults(schema: t.Any, path: str, level: int) -> t.Iterator[Fault]:
    if isinstance(schema, bool):
        return
    if not isinstance(schema, t.Mapping):
        yield path, Message("chat_formats.schema_no_object", value=_shown(schema))
        return
    if level > MAX_LEVELS:
        yield path, Message("chat_formats.schema_too_deep", levels=MAX_LEVELS)
        return
    yield from _simple_faults(schema, path)
    for key in _SCHEMAS:
        if key in schema:
            yield from _faults(schema[key], f"{path}.{key}", level + 1)
    for key in (*_LISTS_OF_SCHEMAS, "items"):
        value = schema.get(key)
        if key not in schema or (key == "items" and not isinstance(value, list)):
            continue
        if not isinstance(value, list) or not value:
            yield f"{path}.{key}", Message("chat_formats.schema_no_list", value=_shown(value))
            continue
        for number, each in enumerate(value):
            yield from _faults(each, f"{path}.{key}[{number}]", level + 1)
    if "items" in schema and not isinstance(schema["items"], list):
        yield from _faults(schema["items"], f"{path}.items", level + 1)
    for key in _SCHEMAS_BY_NAME:
        if key not in schema:
            continue
        if not isinstance(schema[key], t.Mapping):
            yield f"{path}.{key}", Message("chat_formats.schemas_no_object", value=_shown(schema[key]))
            continue
        for name, each in schema[key].items():
            yield from _faults(each, f"{path}.{key}.{name}", level + 1)


def _simple_faults(schema: t.Mapping[str, t.Any], path: str) -> t.Iterator[Fault]:
    """The faults of the keywords whose value holds no schema."""
    for key in _TEXTS:
        if key in schema and not isinstance(schema[key], str):
            yield f"{path}.{key}", Message("chat_formats.schema_no_text", value=_shown(schema[key]))
    kinds = schema.get("type")
    for kind in kinds if isinstance(kinds, list) and kinds else [kinds] if "type" in schema else []:
        if kind not in TYPES:
            suggestion = nearest(kind, TYPES) if isinstance(kind, str) else None
            facts = {"value": _shown(kind), "types": list(TYPES), "suggestion": suggestion}
            yield f"{path}.type", Message("chat_formats.schema_type_unknown", **facts)
    if "required" in schema:
        required = schema["required"]
        if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
            yield f"{path}.required", Message("chat_formats.schema_required_no_names", value=_shown(required))
    if "enum" in schema and (not isinstance(schema["enum"], list) or not schema["enum"]):
        yield f"{path}.enum", Message("chat_formats.schema_no_list", value=_shown(schema["enum"]))
    for key in (*_COUNTS, *_LIMITS, *_EXCLUSIVE_LIMITS):
        value: t.Any = schema.get(key)
        if key in schema and not (_is_number(value) or (key in _EXCLUSIVE_LIMITS and isinstance(value, bool))):
            yield f"{path}.{key}", Message("chat_formats.schema_no_number", value=_shown(value))
        elif key in _COUNTS and key in schema and (value < 0 or value != int(value)):
            yield f"{path}.{key}", Message("chat_formats.schema_no_count", value=value)


def _reference_faults(root: t.Mapping[str, t.Any], path: str) -> list[Fault]:
    """References to nothing, to other documents, and those that lead back to themselves without a value between.

    A reference may lead to a place that holds schemas only because of it; what is there is checked as well.
    """
    faults: list[Fault] = []
    found = list(_walk(root, path))
    known = {id(schema) for schema, _where in found}
    for schema, where in found:  # grows meanwhile
        reference = schema.get("$ref")
        if reference is None:
            continue
        target = resolve(root, reference) if reference.startswith("#") else None
        if not reference.startswith("#"):
            faults.append((f"{where}.$ref", Message("chat_formats.reference_elsewhere", reference=reference)))
        elif target is None:
            faults.append((f"{where}.$ref", Message("chat_formats.reference_to_nothing", reference=reference)))
        elif not isinstance(target, bool) and id(target) not in known:
            place = path + reference[1:].replace("/", ".")
            wrong = list(_faults(target, place, 0))
            faults += wrong
            inner = [] if wrong else list(_walk(target, place))
            known |= {id(target), *(id(each) for each, _where in inner)}
            found += inner
    for schema, where in [] if faults else found:
        circle = _circle(root, schema["$ref"]) if "$ref" in schema else []
        if circle:
            faults.append((f"{where}.$ref", Message("chat_formats.reference_circle", circle=" → ".join(circle))))
    return faults


def _circle(root: t.Mapping[str, t.Any], start: str) -> list[str]:
    """The references from one back to itself; empty if it does not lead back."""
    waiting: collections.deque[list[str]] = collections.deque([[start]])
    seen = set()
    while waiting:
        way = waiting.popleft()
        for reference in _references_in_place(resolve(root, way[-1])):
            if reference == start:
                return [*way, reference]
            if reference not in seen:
                seen.add(reference)
                waiting.append([*way, reference])
    return []


def _references_in_place(schema: t.Any) -> t.Iterator[str]:
    if isinstance(schema, t.Mapping):
        if isinstance(schema.get("$ref"), str):
            yield schema["$ref"]
        for each in (schema.get("not"), *(each for key in _IN_PLACE for each in schema.get(key) or [])):
            yield from _references_in_place(each)


def map_schemas(schema: t.Mapping[str, t.Any], path: str, make: t.Callable[[t.Any, str], t.Any]) -> dict[str, t.Any]:
    """A valid schema, with another value in place of each schema that stands directly in it.

    :param make: returns that value; takes a schema and its path.
    """
    made: dict[str, t.Any] = {}
    for key, value in schema.items():
        where = f"{path}.{key}"
        if key in _SCHEMAS_BY_NAME:
            made[key] = {name: make(each, f"{where}.{name}") for name, each in value.items()}
        elif key in (*_LISTS_OF_SCHEMAS, "items") and isinstance(value, list):
            made[key] = [make(each, f"{where}[{number}]") for number, each in enumerate(value)]
        elif key in (*_SCHEMAS, "items"):
            made[key] = make(value, where)
        else:
            made[key] = value
    return made


def _walk(schema: t.Any, path: str) -> t.Iterator[tuple[t.Mapping[str, t.Any], str]]:
    """A valid schema and all schemas in it, with their paths."""
    if not isinstance(schema, t.Mapping):
        return
    yield schema, path
    inner: list[tuple[t.Any, str]] = []
    map_schemas(schema, path, lambda each, where: inner.append((each, where)))
    for each, where in inner:
        yield from _walk(each, where)


def resolve(root: t.Mapping[str, t.Any], reference: str) -> t.Any:
    """What a reference within a schema names (``#/$defs/city``); None if there is nothing.

    :param root: the schema that the reference counts from.
    """
    target: t.Any = root
    if reference[1:2] not in ("", "/"):
        return next((each for each, _path in _walk(root, "") if each.get("$anchor") == reference[1:]), None)
    for part in reference[1:].split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(target, list) and key.isdecimal() and int(key) < len(target):
            target = target[int(key)]
        elif isinstance(target, t.Mapping) and key in target:
            target = target[key]
        else:
            return None
    return target if isinstance(target, (t.Mapping, bool)) else None


# ---------------------------------------------------------------------- values


@dataclasses.dataclass
class _Check:
    """The comparison of a value with a schema.

    A part of the value may be compared with the same schema in many ways, through ``anyOf`` or references, and the
    parts of this part again: every result is kept, or the time would double with each level.

    :param root: the schema that references count from.
    :param known: the faults by path, value and schema.
    """

    root: t.Mapping[str, t.Any]
    known: dict[tuple[str, int, int], list[Fault]] = dataclasses.field(default_factory=dict)

    def faults(self, value: t.Any, schema: t.Any, path: str) -> list[Fault]:
        """What of a value is not as a schema says, each fault once."""
        if isinstance(schema, bool):
            return [] if schema else [(path, Message("chat_formats.value_not_allowed"))]
        key = (path, id(value), id(schema))
        if key not in self.known:
            found = {(where, str(fault)): fault for where, fault in _value_faults(value, schema, path, self)}
            self.known[key] = [(where, fault) for (where, _text), fault in found.items()]
        return self.known[key]


def value_faults(value: t.Any, schema: t.Any, path: str) -> list[Fault]:
    """What of a value is not as a schema says.

    :param value: a JSON value, such as the arguments of a call.
    :param schema: a valid schema.
    :param path: how the value is called in the faults.
    """
    return list(_Check(schema if isinstance(schema, t.Mapping) else {}).faults(value, schema, path))


def _value_faults(value: t.Any, schema: t.Mapping[str, t.Any], path: str, check: _Check) -> t.Iterator[Fault]:
    reference = schema.get("$ref")
    if isinstance(reference, str):
        target = resolve(check.root, reference)
        if target is not None:
            yield from check.faults(value, target, path)
    kinds = schema.get("type")
    if kinds is not None:
        kinds = kinds if isinstance(kinds, list) else [kinds]
        if not any(_is_of_type(value, kind) for kind in kinds):
            yield path, Message("chat_formats.value_of_other_type", value=_shown(value), types=kinds)
            return
    if "enum" in schema and not any(_equal(value, each) for each in schema["enum"]):
        yield path, Message("chat_formats.value_not_in_enum", value=_shown(value), allowed=_several(schema["enum"]))
    if "const" in schema and not _equal(value, schema["const"]):
        yield path, Message("chat_formats.value_not_in_enum", value=_shown(value), allowed=_several([schema["const"]]))
    for each in schema.get("allOf") or []:
        yield from check.faults(value, each, path)
    for key in ("anyOf", "oneOf"):
        if key in schema:
            fitting = sum(not check.faults(value, each, path) for each in schema[key])
            if not fitting or (key == "oneOf" and fitting > 1):
                code = "chat_formats.value_fits_several" if fitting else "chat_formats.value_fits_none"
                yield path, Message(code, value=_shown(value), keyword=key)
    if "not" in schema and not check.faults(value, schema["not"], path):
        yield path, Message("chat_formats.value_not_allowed")
    if isinstance(value, t.Mapping):
        yield from _object_faults(value, schema, path, check)
    elif isinstance(value, list):
        yield from _list_faults(value, schema, path, check)
    elif isinstance(value, str):
        yield from _size_faults(len(value), schema, ("minLength", "maxLength"), path)
        if "pattern" in schema:
            yield from _pattern_faults(schema["pattern"], value, path)
    elif _is_number(value):
        yield from _number_faults(value, schema, path)


def _object_faults(
    value: t.Mapping[str, t.Any], schema: t.Mapping[str, t.Any], path: str, check: _Check
) -> t.Iterator[Fault]:
    properties = schema.get("properties") or {}
    for name in schema.get("required") or []:
        if name not in value:
            yield path, Message("chat_formats.value_missing", name=name)
    patterns = schema.get("patternProperties") or {}
    for name, each in value.items():
        found = {pattern: limited_regex.search(pattern, name) for pattern in patterns}
        yield from (
            (f"{path}.{name}", Message("chat_formats.pattern_too_slow", pattern=_shown(pattern)))
            for pattern in patterns
            if found[pattern] is None
        )
        matching = [inner for pattern, inner in patterns.items() if found[pattern] is True]
        for inner in [*([properties[name]] if name in properties else []), *matching]:
            yield from check.faults(each, inner, f"{path}.{name}")
        if name not in properties and not matching and schema.get("additionalProperties") is not None:
            if schema["additionalProperties"] is False:
                facts = {"name": name, "suggestion": nearest(name, properties)}
                yield f"{path}.{name}", Message("chat_formats.value_unknown", **facts)
            else:
                yield from check.faults(each, schema["additionalProperties"], f"{path}.{name}")
    yield from _size_faults(len(value), schema, ("minProperties", "maxProperties"), path)


def _list_faults(value: list[t.Any], schema: t.Mapping[str, t.Any], path: str, check: _Check) -> t.Iterator[Fault]:
    items = schema.get("items")
    first = items if isinstance(items, list) else schema.get("prefixItems") or []
    rest = schema.get("additionalItems") if isinstance(items, list) else items
    pairs: t.Iterable[tuple[t.Any, t.Any]] = itertools.zip_longest(value, first[: len(value)], fillvalue=rest)
    for number, (each, inner) in enumerate(pairs):
        if inner is not None:
            yield from check.faults(each, inner, f"{path}[{number}]")
    if schema.get("uniqueItems") is True and any(_equal(a, b) for a, b in itertools.combinations(value, 2)):
        yield path, Message("chat_formats.value_twice")
    yield from _size_faults(len(value), schema, ("minItems", "maxItems"), path)


def _number_faults(value: float, schema: t.Mapping[str, t.Any], path: str) -> t.Iterator[Fault]:
    for key, beyond in _BEYOND.items():
        bound: t.Any = schema.get(key)
        if _is_number(bound) and beyond(value, bound):
            yield path, Message("chat_formats.value_beyond", value=value, keyword=key, bound=bound)
    step: t.Any = schema.get("multipleOf")
    if _is_number(step) and step > 0 and not math.isclose(value / step, round(value / step), abs_tol=1e-9):
        yield path, Message("chat_formats.value_beyond", value=value, keyword="multipleOf", bound=step)


def _size_faults(size: int, schema: t.Mapping[str, t.Any], keys: tuple[str, str], path: str) -> t.Iterator[Fault]:
    low, high = (schema.get(key) for key in keys)
    if low is not None and size < low:
        yield path, Message("chat_formats.value_beyond", value=size, keyword=keys[0], bound=low)
    if high is not None and size > high:
        yield path, Message("chat_formats.value_beyond", value=size, keyword=keys[1], bound=high)


def _is_number(value: t.Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_of_type(value: t.Any, kind: str) -> bool:
    if kind == "integer":
        return _is_number(value) and float(value).is_integer()
    if kind == "number":
        return _is_number(value)
    types: dict[str, t.Any] = {
        "array": list,
        "boolean": bool,
        "null": type(None),
        "object": t.Mapping,
        "string": str,
    }
    return isinstance(value, types[kind])


def _equal(one: t.Any, other: t.Any) -> bool:
    """Whether two JSON values are equal: 1 is 1.0, and neither is true."""
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def _pattern_faults(pattern: str, value: str, path: str) -> t.Iterator[Fault]:
    """The fault of a text that is not as a pattern says.

    JSON Schema has the expressions of ECMAScript; one that Python does not have, which is rare, is not checked.
    """
    found = limited_regex.search(pattern, value)
    if found is None:
        yield path, Message("chat_formats.pattern_too_slow", pattern=_shown(pattern))
    elif found is False:
        yield path, Message("chat_formats.value_not_as_pattern", value=_shown(value), pattern=pattern)


def _several(values: t.Sequence[t.Any]) -> list[str]:
    """Values for a message, at most ten."""
    return [_shown(value) for value in values[:10]] + (["…"] if len(values) > 10 else [])


def _shown(value: t.Any) -> str:
    """A value as JSON, for a message; long ones are cut."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        text = repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"
