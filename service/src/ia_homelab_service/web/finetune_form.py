# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The form of a fine-tune, made from the schema that the API is checked against.

What is filled in travels in the address (``/plan?base_model=…``), so a plan can be kept, shared and gone back from.
"""

from __future__ import annotations

import json
import typing as t
from urllib.parse import urlencode

from nicegui import ui
from nicegui.elements.mixins.validation_element import ValidationElement

from ..application.errors import FieldError
from .i18n.language import Language

#: What one has to say, or mostly wants to; all else is folded away.
MAIN_FIELDS = ("base_model", "dataset", "method", "name", "epochs", "learning_rate", "quantizations")
#: Not asked for on the page: what it trains is to be used.
FIXED_VALUES = {"goal": "model"}

Schema = t.Mapping[str, t.Any]
Query = t.Mapping[str, str]


def read_query(schema: Schema, query: Query) -> tuple[dict[str, t.Any], list[FieldError]]:
    """What an address says of a fine-tune, with what is wrong with its form. Other keys are passed over."""
    values: dict[str, t.Any] = {}
    errors = []
    for name, entry in schema["properties"].items():
        text = query.get(name, "").strip()
        if not text or name in FIXED_VALUES:
            continue
        try:
            values[name] = _parse_value(entry, text)
        except ValueError:
            errors.append(FieldError(name, f'{name} must be JSON such as {{"temperature": 0.2}}, not {text!r}.'))
    return values, errors


def _parse_value(entry: Schema, text: str) -> t.Any:
    if entry["type"] == "boolean":
        return text.lower() in ("true", "1", "on")
    if entry["type"] == "array":
        return [part.strip() for part in text.split(",") if part.strip()]
    if entry["type"] == "object":
        return json.loads(text)
    if entry["type"] in ("number", "integer"):
        return text.replace(",", ".").replace("\u202f", "").replace(" ", "")
    return text


def to_text(value: t.Any) -> str:
    """A value as it stands in an address or in a field."""
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
    """Fields for a schema.

    :param language: language of the labels.
    :param schema: a JSON schema of an object.
    :param query: what is filled in to begin with.
    """

    def __init__(self, language: Language, schema: Schema, query: Query) -> None:
        self._language, self._schema, self._query = language, schema, query
        self._inputs: dict[str, t.Any] = {}

    def add(self, name: str, **more: t.Any) -> t.Any:
        """The field of that name, here.

        :param more: ``options`` for a field that suggests some.
        """
        entry = self._schema["properties"][name]
        label = self._language.maybe(f"field.{name}", name.replace("_", " ").capitalize())
        if name in self._schema.get("required", ()):
            label += " *"
        hint = self._language.maybe(f"hint.{name}", str(entry.get("description", "")))
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
            return ui.switch(label, value=start == "true")
        if entry["type"] == "array" and items.get("enum"):
            chosen = [part for part in start.split(",") if part]
            known = {choice: self._choice(choice) for choice in (*items["enum"], *chosen)}
            return ui.select(known, label=label, value=chosen, multiple=True).props("use-chips")
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
        """Names of the fields that are not yet there, in the schema's order."""
        return [name for name in self._schema["properties"] if name not in self._inputs and name not in FIXED_VALUES]

    def query(self) -> dict[str, str]:
        """What is filled in and differs from the defaults, as it stands in an address."""
        found = {}
        for name, field in self._inputs.items():
            text = to_text(field.value).strip()
            default = to_text(self._schema["properties"][name].get("default"))
            plain = (
                text.replace(",", ".") if self._schema["properties"][name]["type"] in ("number", "integer") else text
            )
            if plain and plain != default:
                found[name] = text
        return found

    def values(self) -> dict[str, t.Any]:
        """What is filled in, as a request."""
        return {**read_query(self._schema, self.query())[0], **FIXED_VALUES}

    def address(self, path: str) -> str:
        """A view with what is filled in here."""
        return f"{path}?{urlencode(self.query())}"

    def on_change(self, name: str, handler: t.Callable[[], t.Any]) -> None:
        """Be told of a new value."""
        self._inputs[name].on_value_change(lambda _event: handler())

    def value(self, name: str) -> str:
        """What stands in a field."""
        return to_text(self._inputs[name].value).strip()

    def show_errors(self, errors: t.Sequence[FieldError]) -> list[FieldError]:
        """Put each error to its field, and give back those that have none."""
        wrong = {error.field: self._error_text(error) for error in errors}
        for name, field in self._inputs.items():
            if isinstance(field, ValidationElement):
                field.error = wrong.get(name)
                field.props(
                    "aria-invalid=true" if name in wrong else "", remove="" if name in wrong else "aria-invalid"
                )
        return [error for error in errors if error.field not in self._inputs]

    def _error_text(self, error: FieldError) -> str:
        """An error in the reader's language where the schema tells what is wrong, else in the core's own words."""
        entry = self._schema["properties"].get(error.field, {})
        if entry.get("type") not in ("integer", "number"):
            return " ".join(part for part in (error.message, error.hint) if part)
        language, least = self._language, entry.get("exclusiveMinimum", entry.get("minimum"))
        told = language("wrong.integer" if entry["type"] == "integer" else "wrong.number")
        for key, bound in (
            ("wrong.above" if "exclusiveMinimum" in entry else "wrong.least", least),
            ("wrong.most", entry.get("maximum")),
        ):
            if bound is not None:
                told += ", " + language(key, bound=language.number(bound))
        return f"{told}."
