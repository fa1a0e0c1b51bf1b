# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module ``tools_file``: reads a file of tools on the control machine, or writes it from a live MCP server."""

from __future__ import annotations

import contextlib
import os
import typing as t

from ansible.plugins.action import ActionBase

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets import tool_sets
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.rules.tools import function_of
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.sources import open_file
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import (
    CoreError,
    InputError,
    RemoteError,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.messages.message import Message
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.files import make_dirs, write_atomic
from ansible_collections.ia_homelab.llamafactory.plugins.plugin_utils import _output, _user_files
from ansible_collections.ia_homelab.llamafactory.plugins.plugin_utils._mcp_client import McpClient

_VAULT = b"$ANSIBLE_VAULT"
#: Seconds that a plan waits for the live source, and that fetching it may take.
_COMPARE_SECONDS, _FETCH_SECONDS = 5.0, 60.0
_UNREACHABLE = "modules.mcp_unreachable"
_SHOWN = 5
_SPEC: dict[str, t.Any] = {
    "name": {"type": "str", "required": True},
    "src": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["present", "fetched"], "default": "present"},
    "mcp": {"type": "str"},
    "include": {"type": "list", "elements": "str", "default": []},
    "token_file": {"type": "str"},
    "timeout": {"type": "float"},
}

Options = dict[str, t.Any]


class ActionModule(ActionBase):
    """Everything happens on the control machine; the host of the task is not contacted."""

    _supports_check_mode = True
    _supports_async = False
    _requires_connection = False

    def run(self, tmp: None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        result: dict[str, t.Any] = super().run(tmp, task_vars or {})
        _validation, options = self.validate_argument_spec(_SPEC)
        try:
            tool_sets.check_set_name(options["name"])
            made = self._fetch if options["state"] == "fetched" else self._read
            answer = made(options, task_vars or {})
        except CoreError as error:
            answer = {"failed": True, "msg": str(error), "hint": error.hint, "details": error.details}
        result.update(answer)
        return _output.finished(self._task, result)

    def _read(self, options: Options, task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        path = self._find(options["src"], task_vars).path
        if not path:
            code = "modules.tools_not_fetched" if options["mcp"] else "modules.tools_file_missing"
            raise InputError(code, src=options["src"], name=options["name"])
        tools = tool_sets.read_tools(self._content(path, options["src"]), options["src"])
        answer = {"changed": False, **_facts(options["name"], path, tools)}
        live, problem = self._live_or_problem(options)
        warnings = [str(problem)] if problem else []
        if live is not None:
            differences = tool_sets.difference(tools, live)
            answer["live"] = "different" if differences else "same"
            if differences:
                facts = {"src": options["src"], "url": options["mcp"], "name": options["name"]}
                warnings.append(str(Message("modules.tools_differ", **facts, parts=differences.parts())))
        return {**answer, "warnings": warnings} if warnings else answer

    def _live_or_problem(self, options: Options) -> tuple[list[tool_sets.Tool] | None, Message | None]:
        """The tools of the live source; None if there is none or it does not answer, and what is wrong with it."""
        if not options["mcp"]:
            return None, None
        try:
            return self._live(options, options["timeout"] or _COMPARE_SECONDS)[0], None
        except CoreError as error:
            if error.code == _UNREACHABLE:
                return None, None
            return None, Message("modules.tools_not_compared", name=options["name"], problem=error.content)

    def _live(self, options: Options, seconds: float) -> tuple[list[tool_sets.Tool], list[str]]:
        token = ""
        if options["token_file"]:
            path = self._loader.path_dwim(os.path.expanduser(options["token_file"]))
            token = self._content(path, options["token_file"]).decode("utf-8", "replace").strip()
        url = options["mcp"]
        return tool_sets.from_mcp(McpClient(url, token, seconds).list_tools(), url, options["include"])

    def _fetch(self, options: Options, task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        if not options["mcp"]:
            raise InputError("modules.tools_without_mcp", name=options["name"])
        tools, lost = self._live(options, options["timeout"] or _FETCH_SECONDS)
        if not tools:
            raise RemoteError("modules.mcp_without_tools", url=options["mcp"])
        path = self._target(options["src"], task_vars)
        before = b""
        if os.path.exists(path):
            with open_file(path, options["src"]) as stream:
                before = stream.read()
        if before.startswith(_VAULT):
            raise InputError("modules.tools_encrypted", src=options["src"])
        changed = _digest(before, options["src"]) != tool_sets.digest_of(tools)
        answer: dict[str, t.Any] = {"changed": changed, **_facts(options["name"], path, tools), "left_out": lost}
        after = tool_sets.file_text(tools) if changed else before.decode("utf-8")
        if self._task.diff:
            answer["diff"] = {
                "before_header": path, "after_header": f"{path} ({options['mcp']})",
                "before": before.decode("utf-8", "replace"), "after": after,
            }  # fmt: skip
        if lost:
            facts = {"name": options["name"], "url": options["mcp"], "count": len(lost)}
            answer["warnings"] = [str(Message("modules.tools_left_out", **facts, examples=lost[:_SHOWN]))]
        if changed and not self._task.check_mode:
            target = os.path.realpath(path)
            make_dirs(os.path.dirname(target))
            mode = os.stat(target).st_mode & 0o777 if os.path.exists(target) else 0o644
            write_atomic(target, after, mode)
        return answer

    def _find(self, src: str, task_vars: dict[str, t.Any]) -> _user_files.Found:
        return _user_files.find(os.path.expanduser(src), task_vars, self._find_needle)

    def _target(self, src: str, task_vars: dict[str, t.Any]) -> str:
        """Path of the file to write; one of the installed collection is left as it is."""
        found = self._find(src, task_vars)
        if found.path and not found.is_shipped:
            return found.path
        return _user_files.new_path(os.path.expanduser(src), task_vars, self._loader.get_basedir())

    def _content(self, path: str, label: str) -> bytes:
        open_file(path, label).close()
        with contextlib.ExitStack() as stack:
            decrypted = self._loader.get_real_file(path)
            stack.callback(self._loader.cleanup_tmp_file, decrypted)
            return stack.enter_context(open(decrypted, "rb")).read()


def _facts(name: str, path: str, tools: list[tool_sets.Tool]) -> dict[str, t.Any]:
    names = [str(function_of(tool)[0]["name"]) for tool in tools]
    return {"name": name, "path": path, "tools": tools, "names": names, "sha256": tool_sets.digest_of(tools)}


def _digest(raw: bytes, label: str) -> str:
    """Digest of the tools in a file; empty if it is empty, or holds none that are valid."""
    try:
        return tool_sets.digest_of(tool_sets.read_tools(raw, label))
    except InputError:
        return ""
