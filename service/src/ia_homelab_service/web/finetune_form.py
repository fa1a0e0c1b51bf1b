# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The form of a fine-tune, generated from the schema that requests are validated against.

Its values are in the address (``/plan?base_model=…``), so a plan can be bookmarked and shared, and the browser's back
button works.
"""

from __future__ import annotations

import json
import typing as t
from urllib.parse import urlencode

from nicegui import ui
from nicegui.elements.mixins.validation_element import ValidationElement

from ia_homelab_core.json_text import parse_json
from ia_homelab_core.messages.message import Message

from ..application import finetune_request
from ..application.errors import FieldError
from .i18n.language import Language

#: Required and common fields; all others are folded away.
MAIN_FIELDS = ("base_model", "dataset", "method", "name", "epochs", "learning_rate", "quantizations")
#: Spellings of true in an address.
_YES = ("true", "yes", "on", "1")
#: Fixed on the page: its trainings always produce a model in Ollama.
FIXED_VALUES = {"goal": "model"}

Schema = t.Mapping[str, t.Any]
Query = t.Mapping[str, str]


def read_query(schema: Schema, query: Query) -> tuple[dict[str, t.Any], list[FieldError]]:
    """Parse the options of a fine-tune in an address, in any of their spellings, and return them with all errors."""
    values: dict[str, t.Any] = {}
    errors = []
    known = finetune_request.known_fields()
    written: dict[str, str] = {}
    for key, raw in query.items():
        name, text = known.get(finetune_request.normalize_key(key)), raw.strip()
        if name in written:
            twice = Message("training.declared_twice", option=name, first=written[name], second=key)
            errors.append(FieldError(key, twice))
            continue
        if text and name is not None:
            written[name] = key
        if name is None or name not in schema["properties"]:
            errors.append(finetune_request.unknown_field(key, [one for one in known if one not in FIXED_VALUES]))
        elif name in FIXED_VALUES:
            if text and text != FIXED_VALUES[name]:
                errors.append(
                    FieldError(key, Message("service.fixed_on_the_page", field=key, value=FIXED_VALUES[name]))
                )
        elif text:
            try:
                values[key] = _parse_value(schema["properties"][name], text)
            except ValueError:
                errors.append(FieldError(key, Message("service.field_no_json", field=key, value=text)))
    return values, errors


def canonical(schema: Schema, query: Query) -> dict[str, str]:
    """Return the options in an address by their names in the schema; others are left out."""
    known = finetune_request.known_fields()
    named = {known.get(finetune_request.normalize_key(key), ""): text for key, text in query.items()}
    return {name: text for name, text in named.items() if name in schema["properties"] and text}


def _parse_value(entry: Schema, text: str) -> t.Any:
    if entry["type"] == "array":
        return [part.strip() for part in text.split(",") if part.strip()]
    if entry["type"] == "object":
        return parse_json(text)
    if entry["type"] in ("number", "integer"):
        return text.replace(",", ".").replace("\u202f", "").replace(" ", "")
    return text


def to_text(value: t.Any) -> str:
    """Return a value as text for an address or a field."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return ",".join(map(str, value))
    if isinstance(value, dict):
        return json.dumps(value) if value else ""
    return f"{value:g}" if isinstance(value, float) else str(value)


class FinetuneForm:
    """The input fields of a form.

    :param language: language of the labels.
    :param schema: a JSON schema of an object.
    :param query: initial values.
    """

    def __init__(self, language: Language, schema: Schema, query: Query) -> None:
        self._language, self._schema, self._query = language, schema, query
        self._inputs: dict[str, t.Any] = {}

    def add(self, name: str, **more: t.Any) -> t.Any:
        """Add the field of that name.

        :param more: ``options``: suggestions for its value.
        """
        entry = self._schema["properties"][name]
        label = self._language.maybe(f"field.{name}", name.replace("_", " ").capitalize())
        if name in self._schema.get("required", ()):
            label += " *"
        hint = self._language.maybe(f"hint.{name}", str(entry.get("description", "")))
        syntax = {"object": "input.json", "array": "input.list"}.get(entry["type"])
        if syntax and not (entry.get("items") or {}).get("enum"):
            hint += " " + self._language(syntax)
        start = self._query.get(name) or to_text(entry.get("default"))
        field = self._field(entry, label, start, **more)
        field.classes("w-full").props(f"data-field={name}")
        if not isinstance(field, ui.switch):
            field.props(f"outlined hide-bottom-space hint={json.dumps(hint)}")
        else:
            field.tooltip(hint)
        self._inputs[name] = field
        return field

    def _field(self, entry: Schema, label: str, start: str, options: t.Any = None, free: bool = False) -> t.Any:
        items = entry.get("items") or {}
        if entry["type"] == "boolean":
            return ui.switch(label, value=start.lower() in _YES)
        if entry["type"] == "array" and items.get("enum"):
            chosen = [part for part in start.split(",") if part]
            choices = {choice: self._choice(choice) for choice in (*items["enum"], *chosen)}
            return ui.select(choices, label=label, value=chosen, multiple=True).props("use-chips")
        if entry.get("enum") and options is None:
            options = {choice: self._choice(choice) for choice in entry["enum"]}
        if options is not None:
            offered = dict(options) if isinstance(options, dict) else {option: option for option in options}
            if start and start not in offered:
                offered[start] = start
            mode: t.Literal["add-unique"] | None = "add-unique" if free else None
            return ui.select(offered, label=label, value=start or None, with_input=free, new_value_mode=mode)
        if entry["type"] == "object":
            return ui.textarea(label, value=start).props("autogrow spellcheck=false")
        numeric = {"integer": "numeric", "number": "decimal"}.get(entry["type"])
        shown = start.replace(".", ",") if numeric and self._language.code == "fr" else start
        field = ui.input(label, value=shown)
        return field.props(f"inputmode={numeric} autocomplete=off" if numeric else "autocomplete=off spellcheck=false")

    def _choice(self, choice: t.Any) -> str:
        return self._language.maybe(f"choice.{choice}", str(choice))

    def rest(self) -> list[str]:
        """Return the names of fields that were not added yet, in the schema's order."""
        return [name for name in self._schema["properties"] if name not in self._inputs and name not in FIXED_VALUES]

    def query(self) -> dict[str, str]:
        """Return the values that differ from the defaults, as a query."""
        query = {}
        for name, field in self._inputs.items():
            text = to_text(field.value).strip()
            default = to_text(self._schema["properties"][name].get("default"))
            plain = (
                text.replace(",", ".") if self._schema["properties"][name]["type"] in ("number", "integer") else text
            )
            if plain and plain != default:
                query[name] = text
        return query

    def values(self) -> dict[str, t.Any]:
        """Return the values as a request."""
        return {**read_query(self._schema, self.query())[0], **FIXED_VALUES}

    def address(self, path: str) -> str:
        """Return the address of a view with the values as its query."""
        return f"{path}?{urlencode(self.query())}"

    def on_change(self, name: str, handler: t.Callable[[], t.Any]) -> None:
        """Call a function when the value of a field changes."""
        self._inputs[name].on_value_change(lambda _event: handler())

    def value(self, name: str) -> str:
        """Return the value of a field as text."""
        return to_text(self._inputs[name].value).strip()

    def show_errors(self, errors: t.Sequence[FieldError]) -> list[FieldError]:
        """Show each error at its field, and return those without a field."""
        wrong = {error.field: self._error_text(error) for error in errors}
        for name, field in self._inputs.items():
            if isinstance(field, ValidationElement):
                field.error = wrong.get(name)
                field.props(
                    "aria-invalid=true" if name in wrong else "", remove="" if name in wrong else "aria-invalid"
                )
        return [error for error in errors if error.field not in self._inputs]

    def _error_text(self, error: FieldError) -> str:
        """Return an error in the viewer's language if the schema explains it, otherwise the core's message."""
        entry = self._schema["properties"].get(error.field, {})
        if entry.get("type") not in ("integer", "number"):
            return str(error.content.render(self._language.code))
        language, least = self._language, entry.get("exclusiveMinimum", entry.get("minimum"))
        text = language("wrong.integer" if entry["type"] == "integer" else "wrong.number")
        for key, bound in (
            ("wrong.above" if "exclusiveMinimum" in entry else "wrong.least", least),
            ("wrong.most", entry.get("maximum")),
        ):
            if bound is not None:
                text += ", " + language(key, bound=language.number(bound))
        return f"{text}."
