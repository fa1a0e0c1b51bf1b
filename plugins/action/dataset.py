# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Passes files of the controller to the module ``dataset``: first their digests, then their rows only if needed."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import subprocess
import tempfile
import typing as t

import yaml
from ansible import constants
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.problems import Problem, Problems
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.source_text import (
    BYTE_ORDER_MARK,
    SourceFile,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.sources import (
    Source,
    kind_of_file,
    open_file,
    refuse,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import CoreError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.messages.message import Message
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.files import sha256_file
from ansible_collections.ia_homelab.llamafactory.plugins.plugin_utils import _output, _user_files

_MODULE = "ia_homelab.llamafactory.dataset"
_GIT_SECONDS = 10
_PLAIN = tuple(f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "seq", "map"))
_DATE = "tag:yaml.org,2002:timestamp"
_MERGE = "tag:yaml.org,2002:merge"
_Loader: t.Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class ActionModule(ActionBase):
    """Hashes the files of the controller, queries the module whether it needs their rows, and transfers them if so."""

    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        return _output.finished(self._task, self._run(tmp, task_vars or {}))

    def _run(self, tmp: None, task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        args = dict(self._task.args)
        args.pop("sources", None)
        remote = boolean(args.get("remote_src") or False, strict=False)
        if args.get("src") is None or remote or args.get("state", "present") != "present":
            result.update(self._call(args, task_vars))
            return result
        names = args["src"] if isinstance(args["src"], list) else [args["src"]]
        with contextlib.ExitStack() as stack:
            try:
                files = [self._locate(str(name), task_vars, stack) for name in names]
                answer = self._call({**args, "sources": [_source_options(source) for source in files]}, task_vars)
                if answer.pop("needs_rows", False):
                    if not self._connection._shell.tmpdir:  # with pipelining there is no temporary directory yet
                        self._make_tmp_path()
                    transferred = [self._transfer_source(index, source, stack) for index, source in enumerate(files)]
                    answer = self._call({**args, "sources": transferred}, task_vars)
            except CoreError as error:
                answer = {"failed": True, "msg": str(error), "hint": error.hint, "details": error.details}
        result.update(answer)
        return result

    def _call(self, args: dict[str, t.Any], task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        answer: dict[str, t.Any] = self._execute_module(module_name=_MODULE, module_args=args, task_vars=task_vars)
        return answer

    def _locate(self, name: str, task_vars: dict[str, t.Any], stack: contextlib.ExitStack) -> Source:
        """Locate a file on the controller and compute its digest."""
        label = os.path.expanduser(name)
        path = self._find(label, name, task_vars)
        if not _is_yaml(label):
            kind_of_file(label)
        open_file(path, name).close()
        # a file encrypted with Ansible Vault is decrypted to a temporary file while it is in use
        decrypted = self._loader.get_real_file(path)
        stack.callback(lambda: self._loader.cleanup_tmp_file(decrypted))
        commit, dirty = git_state(path)
        return Source(
            name,
            path=decrypted,
            kind="json" if _is_yaml(label) else kind_of_file(label),
            sha256=sha256_file(decrypted),
            size=os.stat(decrypted).st_size,
            commit=commit,
            dirty=dirty,
        )

    def _find(self, path: str, name: str, task_vars: dict[str, t.Any]) -> str:
        """Find a file of the user or of the collection.

        :raises InputError: if there is no such file, with all places.
        """
        found = _user_files.find(path, task_vars, self._find_needle)
        if not found.path and os.path.isabs(path):
            raise refuse(name, Message("datasets.no_such_file"))
        if not found.path:
            raise refuse(name, Message("datasets.not_found", places=list(found.searched)))
        return found.path

    def _transfer_source(self, index: int, source: Source, stack: contextlib.ExitStack) -> dict[str, t.Any]:
        """Transfer a file, YAML as JSON lines, and return its entry for the module's option ``sources``."""
        local = source.path
        if _is_yaml(source.label):
            local = yaml_to_lines(local, source.label, str(self._task.args.get("name")))
            stack.callback(lambda: os.unlink(local))
        shell = self._connection._shell
        remote = shell.join_path(shell.tmpdir, f"rows-{index}")
        self._transfer_file(local, remote)
        self._fixup_perms2((shell.tmpdir, remote))
        return _source_options(dataclasses.replace(source, path=remote), transferred=True)


def _source_options(source: Source, transferred: bool = False) -> dict[str, t.Any]:
    value: dict[str, t.Any] = {"label": source.label, "bytes": source.size, "sha256": source.sha256}
    if source.commit:
        value.update(commit=source.commit, dirty=source.dirty)
    if transferred:
        value.update(path=source.path, kind=source.kind)
    return value


def _is_yaml(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in (".yml", ".yaml")


def git_state(path: str) -> tuple[str, bool | None]:
    """Return the commit that last changed a file, and whether the file differs from it; ``("", None)`` without git."""
    folder, name = os.path.split(os.path.realpath(path))

    def git(*args: str) -> str:
        result = subprocess.run(
            ["git", "-C", folder, *args, "--", name],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            timeout=_GIT_SECONDS, check=True, env={**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"},
        )  # fmt: skip
        return result.stdout.strip()

    try:
        commit = git("log", "-1", "--format=%H")
        return (commit, bool(git("status", "--porcelain"))) if commit else ("", None)
    except (OSError, subprocess.SubprocessError):
        return "", None


def yaml_to_lines(path: str, label: str, name: str) -> str:
    """Write the rows of a YAML file as JSON lines.

    :param label: declared name of the file.
    :param name: name of the dataset, for messages.
    :returns: path of a temporary file, which the caller must remove.
    :raises InputError: if the file is not one list, or contains a duplicate key, a date or a tag.
    """
    problems = Problems()
    with open_file(path, label) as stream:
        file = SourceFile(label, stream, problems, os.fstat(stream.fileno()).st_size)
        raw = b""
        if file.encoding():
            raw = file.head + stream.read()
    if not problems:
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            line = raw.count(b"\n", 0, error.start) + 1
            defect = Message("datasets.yaml_not_utf8", byte=f"0x{raw[error.start]:02x}", offset=error.start)
            problems.add(Problem(label, None, line, "", defect))
        else:
            joined = text.find(f"\n{BYTE_ORDER_MARK}")
            if joined >= 0:
                line = text.count("\n", 0, joined) + 2
                problems.add(Problem(label, None, line, "", Message("datasets.mark_inside")))
    if problems:
        raise problems.error(name)
    loader = _Loader(text)
    handle, temporary = tempfile.mkstemp(prefix="dataset-", suffix=".jsonl", dir=constants.DEFAULT_LOCAL_TMP)
    try:
        with os.fdopen(handle, "w", encoding="ascii") as out:
            for row in _yaml_rows(loader, label, problems):
                out.write(json.dumps(row) + "\n")
        if problems:
            raise problems.error(name)
    except BaseException:
        os.unlink(temporary)
        raise
    finally:
        loader.dispose()
    return temporary


def _yaml_rows(loader: t.Any, label: str, problems: Problems) -> t.Iterator[t.Any]:
    try:
        root = loader.get_single_node()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        reason = getattr(error, "problem", None) or getattr(error, "reason", None) or "it cannot be read"
        line = mark.line + 1 if mark else None
        problems.add(Problem(label, None, line, "", Message("datasets.no_yaml", reason=reason)))
        return
    if not isinstance(root, yaml.SequenceNode):
        field, line, defect = _fault_of_root(root)
        problems.add(Problem(label, None, line, field, defect))
        return
    for number, node in enumerate(root.value, 1):
        faults = list(_yaml_faults(node, "", set(), node.start_mark.line + 1))
        for field, line, defect in faults:
            problems.add(Problem(label, number, line, field, defect))
        if not faults:
            yield loader.construct_document(node)


def _fault_of_root(root: t.Any) -> tuple[str, int | None, Message]:
    """Return field, line and defect of a document that is no list of rows."""
    for key, value in root.value if isinstance(root, yaml.MappingNode) else ():
        rows = value.value if isinstance(value, yaml.SequenceNode) else ()
        if isinstance(key, yaml.ScalarNode) and rows and all(isinstance(row, yaml.MappingNode) for row in rows):
            return key.value, key.start_mark.line + 1, Message("datasets.yaml_rows_in_field", field=key.value)
    return "", None, Message("datasets.yaml_without_rows" if root is None else "datasets.yaml_no_list")


def _yaml_faults(node: t.Any, field: str, visited: set[int], parent_line: int) -> t.Iterator[tuple[str, int, Message]]:
    """Yield YAML constructs that JSON cannot represent without loss: field, line, and the defect.

    :param parent_line: line of the parent node: an alias has no line of its own, only that of the node it refers to.
    """
    line = node.start_mark.line + 1
    if node.tag == _DATE:
        yield field, line, Message("datasets.yaml_date", value=node.value)
    elif node.tag not in _PLAIN:
        yield field, line, Message("datasets.yaml_tag", tag=node.tag)
    if isinstance(node, yaml.ScalarNode):
        return
    if id(node) in visited:
        yield field, parent_line, Message("datasets.yaml_alias")
        return
    visited.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _yaml_faults(item, f"{field}[{index}]", visited, line)
        return
    keys: set[str] = set()
    for key, value in node.value:
        name = key.value if isinstance(key, yaml.ScalarNode) else "?"
        subfield = f"{field}.{name}" if field else name
        if key.tag == _MERGE:
            yield subfield, key.start_mark.line + 1, Message("datasets.yaml_merge")
            continue
        if not isinstance(key, yaml.ScalarNode) or key.tag != _PLAIN[0]:
            yield subfield, key.start_mark.line + 1, Message("datasets.yaml_key_no_text")
        elif name in keys:
            yield subfield, key.start_mark.line + 1, Message("datasets.key_given_twice")
        keys.add(name)
        yield from _yaml_faults(value, subfield, visited, key.start_mark.line + 1)
