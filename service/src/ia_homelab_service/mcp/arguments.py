# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Arguments of the tools: none is ignored, and options of a fine-tune are arguments as in the table of options.

The SDK drops arguments that a tool does not name. A language model would never learn that its training has ignored what
it asked for.
"""

from __future__ import annotations

import contextlib
import difflib
import typing as t

from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.tools.base import Tool
from mcp_types import ToolAnnotations

from ia_homelab_core.errors import CoreError
from ia_homelab_core.json_text import parse_json
from ia_homelab_core.messages.message import Message
from ia_homelab_core.messages.suggestions import did_you_mean
from ia_homelab_core.training import options

from ..application import finetune_request
from ..application.errors import FieldError, FieldErrors

#: The argument with all further options.
OPTIONS = "options"


class CheckedTool(Tool):
    """A tool that refuses unknown arguments.

    :param takes_options: whether options of a fine-tune are arguments, beside those in ``options``.
    """

    takes_options: bool = False

    @classmethod
    def of(
        cls, function: t.Callable[..., t.Any], title: str, annotations: ToolAnnotations, takes_options: bool = False
    ) -> CheckedTool:
        """Return the tool of a function.

        :param takes_options: whether it has the argument ``options``.
        """
        tool = cls.from_function(function, title=title, annotations=annotations, structured_output=True)
        assert isinstance(tool, CheckedTool)
        tool.takes_options = takes_options
        tool.parameters["additionalProperties"] = False
        if takes_options:
            own = tool.parameters["properties"]
            # what further options there are comes last: it matters least
            further = own.pop(OPTIONS)
            tool.parameters["properties"] = {**own, **usual_options(own), OPTIONS: further}
        return tool

    async def run(self, arguments: dict[str, t.Any], context: t.Any, convert_result: bool = False) -> t.Any:
        """Run the tool.

        :raises ToolError: for unknown arguments, and when the tool fails.
        """
        own = self.fn_metadata.arg_model.model_fields
        others = {name: value for name, value in arguments.items() if name not in own}
        if others:
            try:
                with tool_errors():
                    arguments = self._with_options(arguments, others)
            except ToolError as error:
                raise ToolError(f"Error executing tool {self.name}: {error}") from None
        return await super().run(arguments, context, convert_result=convert_result)

    def _with_options(self, arguments: t.Mapping[str, t.Any], others: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
        own = self.fn_metadata.arg_model.model_fields
        if not self.takes_options:
            raise FieldErrors([unknown_argument(name, own) for name in others])
        further = arguments.get(OPTIONS)
        if isinstance(further, str):  # some clients send objects as text
            with contextlib.suppress(ValueError):
                further = parse_json(further)
        if further is not None and not isinstance(further, dict):
            return dict(arguments)  # the SDK's own check reports it
        kept = {name: value for name, value in arguments.items() if name in own}
        # unknown names are reported by the check of the request, together with all else that is wrong
        return {**kept, OPTIONS: merged(others, further or {}, lambda name: f"{OPTIONS}.{name}")}


def usual_options(own: t.Container[str]) -> dict[str, t.Any]:
    """Return the JSON schemas of the options that are arguments of their own, by name.

    A default is told and not a value of the schema: clients that fill it in would send options without effect.

    :param own: names of arguments that the tool has already.
    """
    names = [option.name for option in options.ALL if option.usual and option.name not in own]
    schemas = finetune_request.form_schema()["properties"]
    usual = {}
    for name in [*names, "goal"]:
        schema = dict(schemas[name])
        default = schema.pop("default", None)
        if default is not None:
            text = ", ".join(map(str, default)) if isinstance(default, list) else default
            schema["description"] = f"{schema['description']} Default: {text}."
        usual[name] = schema
    return usual


def merged(
    first: t.Mapping[str, t.Any], second: t.Mapping[str, t.Any], written: t.Callable[[str], str] = str
) -> dict[str, t.Any]:
    """Return the options of both.

    :param written: how a name of the second is reported.
    :raises FieldErrors: for a name that both have. Other spellings of one option are found by the check of the request.
    """
    twice = [
        FieldError(written(name), Message("training.declared_twice", option=name, first=name, second=written(name)))
        for name in second
        if name in first
    ]
    if twice:
        raise FieldErrors(twice)
    return {**first, **second}


def request_of(model: str, method: str, dataset: str, further: t.Mapping[str, t.Any] | None) -> dict[str, t.Any]:
    """Return the request for a fine-tune.

    :raises FieldErrors: for an argument that is among the further options, too.
    """
    specified = {"model": model, "method": method, "dataset": dataset}
    return merged(specified, further or {}, lambda name: f"{OPTIONS}.{name}")


def unknown_argument(name: str, known: t.Iterable[str]) -> FieldError:
    """Return the error for an argument that a tool does not have."""
    names = list(known)
    near = difflib.get_close_matches(name.lower(), names, 1, 0.6)
    suggestion = did_you_mean(near) or (Message("errors.known", names=names) if names else None)
    return FieldError(name, Message("service.field_unknown", field=name, suggestion=suggestion))


@contextlib.contextmanager
def tool_errors() -> t.Iterator[None]:
    """Convert errors of the core to tool errors, with the hint and each invalid field."""
    try:
        yield
    except FieldErrors as error:
        wrong = [" ".join(part for part in (f"{one.field}:", one.message, one.hint) if part) for one in error.errors]
        raise ToolError("\n".join([error.message, *wrong])) from None
    except CoreError as error:
        raise ToolError(str(error)) from error
