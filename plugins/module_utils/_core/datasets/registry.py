# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Datasets by name: apply a declaration, remove a name, look a name up.

A version is an artifact named by its content. A name is an entry of ``datasets/dataset_info.json`` that refers to a
version. The declaration and the sources of a name are recorded in ``datasets/.registered/NAME.json``, so that the same
declaration of the same sources is recognized without reading a row.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import typing as t

from ..artifacts.layout import FINGERPRINT, Layout
from ..errors import InputError, StoreError
from ..fingerprint import digest
from ..messages.message import Message
from ..messages.suggestions import nearest
from ..system.clock import utc_now
from ..system.files import make_dirs, read_json, write_json
from .dataset_info_file import InfoFile, version_of
from .diff import Changes
from .output_formats import DATA_FILE, ENTRY, INFO_FILE, OUTPUT_FORMATS, SFT
from .rendering import RENDERER, render
from .sources import Source, identify
from .tool_sets import ToolSets, check_set_name, check_tools, digest_of
from .versions import intact_receipt, lock, publish, workspace

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")
_EXTENSIONS = (".json", ".jsonl", ".ndjson", ".csv", ".yml", ".yaml")


@dataclasses.dataclass(frozen=True)
class Declaration:
    """The declaration of a dataset, without its rows.

    :param name: name of the dataset.
    :param format: one of :data:`datasets.rules.registry.FORMATS`.
    :param columns: field names of the data by LLaMA-Factory's column name, where they differ from the defaults.
    :param ignore_fields: fields of the data to leave out.
    :param tools: tools by the name that rows may give instead of them.
    """

    name: str
    format: str = "auto"
    columns: t.Mapping[str, str] = dataclasses.field(default_factory=dict)
    ignore_fields: t.Sequence[str] = ()
    tools: ToolSets = dataclasses.field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Digest of everything that determines how the same rows are read."""
        return digest(
            {
                "format": self.format,
                "columns": self.columns,
                "ignore": sorted(self.ignore_fields),
                "renderer": RENDERER,
                **({"tools": {name: digest_of(tools) for name, tools in self.tools.items()}} if self.tools else {}),
            }
        )


@dataclasses.dataclass(frozen=True)
class DatasetInfo:
    """An existing dataset.

    :param name: the name it was looked up by; may be empty if it was looked up by fingerprint.
    :param fingerprint: fingerprint of the version.
    :param path: directory of the version, LLaMA-Factory's ``dataset_dir``.
    :param rows: number of rows.
    :param results: its statistics (``results`` of its receipt).
    :param sources: sources of its last declaration (label, bytes, sha256, commit); empty if unknown.
    """

    name: str
    fingerprint: str
    path: str
    rows: int
    results: dict[str, t.Any]
    sources: list[dict[str, t.Any]] = dataclasses.field(default_factory=list)

    @property
    def kind(self) -> str:
        """The kind of its rows (``SFT``, ``PREFERENCE``, … of ``datasets.output_formats``)."""
        return str(self.results.get("kind") or SFT)

    @property
    def entry(self) -> str:
        """Its name in the ``dataset_info.json`` of :attr:`path`, LLaMA-Factory's ``dataset``."""
        return ENTRY

    @property
    def data_file(self) -> str:
        """Path of the rows."""
        return os.path.join(self.path, DATA_FILE)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The result of applying a declaration, performed or planned.

    :param changed: whether anything had to be changed.
    :param dataset: the dataset; None if it is absent, or unknown because its rows were not given.
    :param causes: reasons for the change, one clause each.
    :param changes: differences from the previous version (see :meth:`datasets.diff.Changes.result`); empty if they
        were not requested or there are none.
    :param needs_rows: nothing was done, because only digests were given and they differ from the recorded ones.
    :param before: previous fingerprint; empty if the name was new.
    """

    changed: bool
    dataset: DatasetInfo | None = None
    causes: tuple[Message, ...] = ()
    changes: dict[str, t.Any] = dataclasses.field(default_factory=dict)
    needs_rows: bool = False
    before: str = ""

    @property
    def reasons(self) -> list[str]:
        """The causes in English."""
        return [str(cause) for cause in self.causes]


def check_name(name: str) -> str:
    """The name, if it is valid.

    :raises InputError: if it is not a valid name (LLaMA-Factory splits lists of names on commas).
    """
    if not _NAME.match(name) or FINGERPRINT.match(name):
        raise InputError("datasets.name_invalid", name=name)
    stem, extension = os.path.splitext(name)
    if extension.lower() in _EXTENSIONS:
        raise InputError("datasets.name_of_file", name=name, instead=stem)
    return name


def dataset_name(text: str) -> str:
    """The dataset name that a path or a name refers to: ``/app/data/homelab.json`` is the dataset ``homelab``.

    :raises InputError: if the result is not a valid name.
    """
    name = text.strip().replace("\\", "/").rstrip("/").rpartition("/")[2]
    stem, extension = os.path.splitext(name)
    return check_name(stem if extension.lower() in _EXTENSIONS else name)


def info_path(layout: Layout) -> str:
    """The file in which LLaMA-Factory and its WebUI look up datasets by name."""
    return os.path.join(layout.datasets, INFO_FILE)


def load(layout: Layout, name_or_fingerprint: str) -> DatasetInfo:
    """Look up a dataset by its name or by the fingerprint of a version. Its rows may have been pruned.

    :raises InputError: if it does not exist, with similar names; or if another program registered it.
    """
    info = InfoFile(info_path(layout))
    name, version = name_or_fingerprint, name_or_fingerprint
    if FINGERPRINT.match(version):
        name = next((other for other, entry in info.entries.items() if version_of(entry) == version), "")
    elif name not in info.entries:
        own_names = [other for other, entry in info.entries.items() if version_of(entry)]
        raise InputError(
            "datasets.unknown" if own_names else "datasets.none_yet",
            name=name,
            directory=layout.datasets,
            **({"suggestion": nearest(name, own_names), "known": sorted(own_names)[:20]} if own_names else {}),
            details={"datasets": sorted(own_names)},
        )
    else:
        version = version_of(info.entries[name])
        if not version:
            raise InputError("datasets.of_other_program", name=name, path=info.path)
    receipt = layout.receipt("dataset", version)
    if receipt is None:
        raise InputError("datasets.version_missing", name=name, version=version[:12])
    return _dataset_info(layout, name, version, dict(receipt.get("results") or {}), _registration(layout, name))


def _dataset_info(
    layout: Layout, name: str, version: str, results: dict[str, t.Any], registration: t.Mapping[str, t.Any]
) -> DatasetInfo:
    sources = registration.get("sources") if registration.get("fingerprint") == version else None
    return DatasetInfo(
        name,
        version,
        layout.artifact("dataset", version),
        int(results.get("rows") or 0),
        results,
        list(sources or results.get("sources") or []),
    )


def _registration_path(layout: Layout, name: str) -> str:
    return os.path.join(layout.datasets, ".registered", f"{name}.json")


def _registration(layout: Layout, name: str) -> dict[str, t.Any]:
    """The recorded declaration of a name; empty if there is none (the record only saves work)."""
    try:
        record = read_json(_registration_path(layout, name)) if name else None
    except StoreError:
        return {}
    return record if isinstance(record, dict) else {}


def _same_content(one: t.Mapping[str, t.Any], other: t.Mapping[str, t.Any]) -> bool:
    """Whether two sources have the same content and the same file type."""
    extension = [os.path.splitext(str(source.get("label")))[1] for source in (one, other)]
    return one.get("sha256") == other.get("sha256") and extension[0] == extension[1]


def apply(
    layout: Layout,
    declaration: Declaration,
    sources: t.Sequence[Source],
    check: bool = False,
    compare: bool = False,
    force: bool = False,
    core_version: str = "",
    publisher: str = "",
) -> Outcome:
    """Apply a declaration.

    :param sources: sources of the rows, in order; of some, only the digest may be given.
    :param check: change nothing, only report.
    :param compare: report the differences from the previous version.
    :param force: replace an entry that another program registered.
    :param core_version: version to record in the receipt.
    :param publisher: recorded in the receipt of a new version (see ``datasets.unused_versions``).
    :raises InputError: if the declaration or the rows are invalid; nothing is changed in that case.
    """
    name = check_name(declaration.name)
    for tools_name, tools in declaration.tools.items():
        check_tools(tools, check_set_name(tools_name))
    info = InfoFile(info_path(layout))
    before = _check_owner(info, name, force)
    registration = _registration(layout, name)
    recorded = [source for source in registration.get("sources") or [] if isinstance(source, dict)]
    sources = [identify(source, recorded) for source in sources]
    given = [source.as_dict() for source in sources]
    if registration.get("declaration") == declaration.digest and len(recorded) == len(given):
        version = str(registration.get("fingerprint"))
        if all(_same_content(*pair) for pair in zip(recorded, given)) and FINGERPRINT.match(version):
            receipt = intact_receipt(layout, version)
            if receipt:
                results = dict(receipt.get("results") or {})
                reasons = _register(layout, declaration, version, results["formatting"], given, check, force)
                dataset = _dataset_info(layout, name, version, results, {"fingerprint": version, "sources": given})
                return Outcome(bool(reasons), dataset, tuple(reasons), before=before)
    if any(source.records is None and not source.path for source in sources):
        return Outcome(False, needs_rows=True, before=before)

    old_data = os.path.join(layout.artifact("dataset", before), DATA_FILE) if before else ""
    changes = Changes(old_data if os.path.isfile(old_data) else "") if compare else None
    reasons = []
    started_at = utc_now()
    with workspace(layout) if not check else contextlib.nullcontext("") as work:
        rendered = render(
            name,
            sources,
            declared=declaration.format,
            columns=declaration.columns,
            ignored=declaration.ignore_fields,
            path=os.path.join(work, DATA_FILE) if work else None,
            observer=changes,
            tools=declaration.tools,
        )
        version = rendered.fingerprint
        receipt = intact_receipt(layout, version)
        if receipt is None:
            exists = os.path.isdir(layout.artifact("dataset", version))
            new_reason = Message("datasets.rows_changed" if before and before != version else "datasets.rows_new")
            changed_tools = tools_that_changed(_results_of(layout, before), rendered.results)
            if changed_tools and before != version:
                new_reason = Message("datasets.other_tools", names=changed_tools)
            reasons.append(Message("datasets.version_incomplete") if exists else new_reason)
            rendered.results["name"] = name
            if work:
                publish(layout, work, rendered, started_at, core_version, publisher)
    results = dict((receipt or {}).get("results") or rendered.results)
    renamed = _register(layout, declaration, version, rendered.output_format, given, check, force)
    reasons = reasons or renamed
    dataset = _dataset_info(layout, name, version, results, {"fingerprint": version, "sources": given})
    differences = changes.result() if changes and version != before else {}
    return Outcome(bool(reasons), dataset, tuple(reasons), differences, before=before)


def _results_of(layout: Layout, version: str) -> t.Mapping[str, t.Any]:
    """The results in the receipt of a version; empty if there is none that can be read."""
    try:
        receipt = layout.receipt("dataset", version) if version else None
    except StoreError:
        return {}
    return (receipt or {}).get("results") or {}


def tools_that_changed(before: t.Mapping[str, t.Any], after: t.Mapping[str, t.Any]) -> list[str]:
    """Names of declared tools that two versions have both, with other content.

    :param before: statistics of the earlier version; :param after: statistics of the later one.
    """
    old, new = before.get("tool_sets") or {}, after.get("tool_sets") or {}
    return [name for name in new if name in old and old[name]["sha256"] != new[name]["sha256"]]


def _check_owner(info: InfoFile, name: str, force: bool) -> str:
    """The version a name refers to; empty if the name is unused, or belongs to another program and ``force`` is set."""
    version = version_of(info.entries.get(name))
    if name in info.entries and not version and not force:
        raise InputError("datasets.taken_by_other_program", name=name, path=info.path)
    return version


def _register(
    layout: Layout,
    declaration: Declaration,
    version: str,
    output_format: str,
    sources: list[dict[str, t.Any]],
    check: bool,
    force: bool,
) -> list[Message]:
    """Point the name to the version; returns the reasons why it did not."""
    entry = OUTPUT_FORMATS[output_format].entry(f"versions/{version}/{DATA_FILE}")
    name = declaration.name
    record = {
        "schema": 1,
        "name": name,
        "fingerprint": version,
        "declaration": declaration.digest,
        "sources": sources,
    }

    def reasons_for(info: InfoFile) -> list[Message]:
        if name not in info.entries:
            return [Message("datasets.name_new")]
        if info.entries[name] == entry:
            return []
        other_version = version_of(info.entries[name]) != version
        return [Message("datasets.name_of_other_version" if other_version else "datasets.info_entry_changed")]

    reasons = reasons_for(InfoFile(info_path(layout)))
    recorded = _registration(layout, name)
    if check or (not reasons and {**recorded, "registered_at": None} == {**record, "registered_at": None}):
        return reasons
    layout.create()
    with lock(layout):
        info = InfoFile(info_path(layout))
        _check_owner(info, name, force)
        reasons = reasons_for(info)
        if reasons:
            info.put(name, entry)
            info.write()
        make_dirs(os.path.dirname(_registration_path(layout, name)))
        write_json(_registration_path(layout, name), {**record, "registered_at": utc_now()})
    return reasons


def absent(layout: Layout, name: str, purge: bool = False, check: bool = False, force: bool = False) -> Outcome:
    """Remove a name; with ``purge`` also the rows of its version, unless another name refers to it.

    The receipt stays: models that were trained on the dataset refer to it.
    """
    check_name(name)
    info = InfoFile(info_path(layout))
    version = _check_owner(info, name, force)
    reasons = [Message("datasets.name_exists")] if name in info.entries else []
    if not version:
        version = str(_registration(layout, name).get("fingerprint") or "")
    data = os.path.join(layout.artifact("dataset", version), DATA_FILE) if FINGERPRINT.match(version) else ""
    other_names = [other for other, entry in info.entries.items() if other != name and version_of(entry) == version]
    if purge and data and not other_names and os.path.lexists(data):
        reasons.append(Message("datasets.rows_exist"))
    if check or not reasons:
        return Outcome(bool(reasons), causes=tuple(reasons), before=version)
    with lock(layout):
        info = InfoFile(info_path(layout))
        _check_owner(info, name, force)
        if name in info.entries:
            info.remove(name)
            info.write()
        if purge:
            if data and not any(version_of(entry) == version for entry in info.entries.values()):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(data)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(_registration_path(layout, name))
    return Outcome(True, causes=tuple(reasons), before=version)
