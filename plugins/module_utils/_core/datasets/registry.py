# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Datasets by name: made true from a declaration, taken away, looked up.

A version is an artifact named by its content. A name is an entry of ``datasets/dataset_info.json`` that refers to a
version; what it was declared from is kept in ``datasets/.registered/NAME.json``, so that the same declaration of the
same sources is known again without reading a row.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import typing as t

from ..artifacts.layout import Layout
from ..errors import InputError, StoreError
from ..fingerprint import digest
from ..system.clock import utc_now
from ..system.files import make_dirs, read_json, write_json
from .dataset_info_file import InfoFile, version_of
from .diff import Changes
from .output_formats import DATA_FILE, ENTRY, OUTPUT_FORMATS, SFT
from .problems import nearest
from .rendering import RENDERER, render
from .sources import Source, identify
from .versions import INFO_FILE, intact_receipt, lock, publish, workspace

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")
_FINGERPRINT = re.compile(r"[0-9a-f]{64}\Z")
_EXTENSIONS = (".json", ".jsonl", ".ndjson", ".csv", ".yml", ".yaml")


@dataclasses.dataclass(frozen=True)
class Declaration:
    """What a dataset shall be, without its rows.

    :param name: its name.
    :param format: one of :data:`datasets.rules.preferences.FORMATS`.
    :param columns: fields of the data by LLaMA-Factory's name of the column, where they are not the usual ones.
    :param ignore_fields: fields of the data that are left out.
    """

    name: str
    format: str = "auto"
    columns: t.Mapping[str, str] = dataclasses.field(default_factory=dict)
    ignore_fields: t.Sequence[str] = ()

    @property
    def digest(self) -> str:
        """Of all that decides how the same rows are read."""
        return digest(
            {
                "format": self.format,
                "columns": self.columns,
                "ignore": sorted(self.ignore_fields),
                "renderer": RENDERER,
            }
        )


@dataclasses.dataclass(frozen=True)
class DatasetInfo:
    """A dataset that is there.

    :param name: the name it was asked for by; may be empty when it was asked for by fingerprint.
    :param fingerprint: names the version.
    :param path: directory of the version, LLaMA-Factory's ``dataset_dir``.
    :param rows: number of rows.
    :param results: what was found out about it (``results`` of its receipt).
    :param sources: what it was last declared from (label, bytes, sha256, commit); empty when not known.
    """

    name: str
    fingerprint: str
    path: str
    rows: int
    results: dict[str, t.Any]
    sources: list[dict[str, t.Any]] = dataclasses.field(default_factory=list)

    @property
    def kind(self) -> str:
        """What its rows are for (``SFT``, ``PREFERENCE``, … of ``datasets.output_formats``)."""
        return str(self.results.get("kind") or SFT)

    @property
    def entry(self) -> str:
        """Its name in the ``dataset_info.json`` of :attr:`path`, LLaMA-Factory's ``dataset``."""
        return ENTRY

    @property
    def data_file(self) -> str:
        """The rows."""
        return os.path.join(self.path, DATA_FILE)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What applying a declaration did, or would do.

    :param changed: whether anything of it was not true before.
    :param dataset: the dataset; None when it is absent, or not known without its rows.
    :param reasons: why something changed, a clause each.
    :param changes: what differs from the version before (see :meth:`datasets.diff.Changes.result`); empty when that
        was not asked for, or nothing differs.
    :param needs_rows: nothing was done: only digests were given, and they are not those of the last time.
    :param before: fingerprint before; empty when the name was new.
    """

    changed: bool
    dataset: DatasetInfo | None = None
    reasons: list[str] = dataclasses.field(default_factory=list)
    changes: dict[str, t.Any] = dataclasses.field(default_factory=dict)
    needs_rows: bool = False
    before: str = ""


def check_name(name: str) -> str:
    """The name itself.

    :raises InputError: when a dataset cannot be called that (LLaMA-Factory splits lists of them on commas).
    """
    if not _NAME.match(name) or _FINGERPRINT.match(name):
        raise InputError(
            f"A dataset cannot be called {name!r}.",
            "A name has up to 100 letters, digits and . _ - and begins with a letter or digit.",
        )
    stem, extension = os.path.splitext(name)
    if extension.lower() in _EXTENSIONS:
        raise InputError(f"A dataset cannot be called {name!r}, that is a file.", f"Call it {stem!r}.")
    return name


def dataset_name(text: str) -> str:
    """The name that a path means as well as a name: ``/app/data/homelab.json`` is the dataset ``homelab``.

    :raises InputError: when no dataset can be called that.
    """
    name = text.strip().replace("\\", "/").rstrip("/").rpartition("/")[2]
    stem, extension = os.path.splitext(name)
    return check_name(stem if extension.lower() in _EXTENSIONS else name)


def info_path(layout: Layout) -> str:
    """The file in which LLaMA-Factory and its WebUI look datasets up by name."""
    return os.path.join(layout.datasets, INFO_FILE)


def load(layout: Layout, name_or_fingerprint: str) -> DatasetInfo:
    """Look a dataset up by its name or by the fingerprint of a version. Its rows may have been pruned.

    :raises InputError: when there is none, with the names that are nearest; or when it is not one of ours.
    """
    info = InfoFile(info_path(layout))
    name, version = name_or_fingerprint, name_or_fingerprint
    if _FINGERPRINT.match(version):
        name = next((other for other, entry in info.entries.items() if version_of(entry) == version), "")
    elif name not in info.entries:
        ours = [other for other, entry in info.entries.items() if version_of(entry)]
        raise InputError(
            f"There is no dataset {name!r} in {layout.datasets}.",
            f"{nearest(name, ours)} There are: {', '.join(sorted(ours)[:20])}.".lstrip()
            if ours
            else "There is none yet: declare it with the module dataset.",
            {"datasets": sorted(ours)},
        )
    else:
        version = version_of(info.entries[name])
        if not version:
            raise InputError(
                f"The dataset {name!r} was registered in {info.path} by somebody else.",
                "Give its file to the module dataset, which checks it, under another name or with force.",
            )
    receipt = layout.receipt("dataset", version)
    if receipt is None:
        raise InputError(
            f"The dataset {name!r} refers to a version that is not there, {version[:12]}.",
            "Apply its declaration again.",
        )
    return _found(layout, name, version, dict(receipt.get("results") or {}), _registration(layout, name))


def _found(
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
    """What a name was last declared from; empty when that is not known (it only saves work)."""
    try:
        found = read_json(_registration_path(layout, name)) if name else None
    except StoreError:
        return {}
    return found if isinstance(found, dict) else {}


def _same(first: t.Mapping[str, t.Any], second: t.Mapping[str, t.Any]) -> bool:
    """Whether two sources hold the same, written in the same way."""
    extension = [os.path.splitext(str(source.get("label")))[1] for source in (first, second)]
    return first.get("sha256") == second.get("sha256") and extension[0] == extension[1]


def apply(
    layout: Layout,
    declaration: Declaration,
    sources: t.Sequence[Source],
    check: bool = False,
    compare: bool = False,
    force: bool = False,
    core_version: str = "",
) -> Outcome:
    """Make a declaration true.

    :param sources: where the rows come from, in order; some may be known by their digest only.
    :param check: change nothing, only tell.
    :param compare: tell what differs from the version before.
    :param force: take over an entry of somebody else.
    :raises InputError: when anything is wrong with the declaration or the rows; nothing was changed then.
    """
    name = check_name(declaration.name)
    info = InfoFile(info_path(layout))
    before = _check_owner(info, name, force)
    registration = _registration(layout, name)
    known = [source for source in registration.get("sources") or [] if isinstance(source, dict)]
    sources = [identify(source, known) for source in sources]
    told = [source.as_dict() for source in sources]
    if registration.get("declaration") == declaration.digest and len(known) == len(told):
        version = str(registration.get("fingerprint"))
        if all(_same(*pair) for pair in zip(known, told)) and _FINGERPRINT.match(version):
            receipt = intact_receipt(layout, version)
            if receipt:
                results = dict(receipt.get("results") or {})
                reasons = _register(layout, declaration, version, results["formatting"], told, check, force)
                dataset = _found(layout, name, version, results, {"fingerprint": version, "sources": told})
                return Outcome(bool(reasons), dataset, reasons, before=before)
    if any(source.records is None and not source.path for source in sources):
        return Outcome(False, needs_rows=True, before=before)

    old = os.path.join(layout.artifact("dataset", before), DATA_FILE) if before else ""
    changes = Changes(old if os.path.isfile(old) else "") if compare else None
    reasons = []
    started_at = utc_now()
    with workspace(layout) if not check else contextlib.nullcontext("") as work:
        rendered = render(
            name,
            sources,
            declaration.format,
            declaration.columns,
            declaration.ignore_fields,
            os.path.join(work, DATA_FILE) if work else None,
            changes,
        )
        version = rendered.fingerprint
        receipt = intact_receipt(layout, version)
        if receipt is None:
            there = os.path.isdir(layout.artifact("dataset", version))
            new = "the rows changed" if before and before != version else "the rows are new"
            reasons.append("the version is not whole" if there else new)
            rendered.results["name"] = name
            if work:
                publish(layout, work, rendered, started_at, core_version)
    results = dict((receipt or {}).get("results") or rendered.results)
    renamed = _register(layout, declaration, version, rendered.form, told, check, force)
    reasons = reasons or renamed
    dataset = _found(layout, name, version, results, {"fingerprint": version, "sources": told})
    differs = changes.result() if changes and version != before else {}
    return Outcome(bool(reasons), dataset, reasons, differs, before=before)


def _check_owner(info: InfoFile, name: str, force: bool) -> str:
    """The version a name refers to; empty when there is no such name, or somebody else's that shall be taken over."""
    version = version_of(info.entries.get(name))
    if name in info.entries and not version and not force:
        raise InputError(
            f"The dataset {name!r} was registered in {info.path} by somebody else.",
            "Choose another name, or take it over with force: true.",
        )
    return version


def _register(
    layout: Layout,
    declaration: Declaration,
    version: str,
    form: str,
    sources: list[dict[str, t.Any]],
    check: bool,
    force: bool,
) -> list[str]:
    """Make the name refer to the version; why it did not before."""
    entry = OUTPUT_FORMATS[form].entry(f"versions/{version}/{DATA_FILE}")
    name = declaration.name
    note = {
        "schema": 1,
        "name": name,
        "fingerprint": version,
        "declaration": declaration.digest,
        "sources": sources,
    }

    def differs(info: InfoFile) -> list[str]:
        if name not in info.entries:
            return ["the name is new"]
        if info.entries[name] == entry:
            return []
        other = version_of(info.entries[name]) != version
        return ["the name refers to something else" if other else "the entry in dataset_info.json was changed"]

    reasons = differs(InfoFile(info_path(layout)))
    noted = _registration(layout, name)
    if check or (not reasons and {**noted, "registered_at": None} == {**note, "registered_at": None}):
        return reasons
    layout.create()
    with lock(layout):
        info = InfoFile(info_path(layout))
        _check_owner(info, name, force)
        reasons = differs(info)
        if reasons:
            info.put(name, entry)
            info.write()
        make_dirs(os.path.dirname(_registration_path(layout, name)))
        write_json(_registration_path(layout, name), {**note, "registered_at": utc_now()})
    return reasons


def absent(layout: Layout, name: str, purge: bool = False, check: bool = False, force: bool = False) -> Outcome:
    """Take a name away; with ``purge`` the rows of its version too, unless another name refers to them.

    The receipt stays: models that were trained on it refer to it.
    """
    check_name(name)
    info = InfoFile(info_path(layout))
    version = _check_owner(info, name, force)
    reasons = ["the name is there"] if name in info.entries else []
    if not version:
        version = str(_registration(layout, name).get("fingerprint") or "")
    data = os.path.join(layout.artifact("dataset", version), DATA_FILE) if _FINGERPRINT.match(version) else ""
    others = [other for other, entry in info.entries.items() if other != name and version_of(entry) == version]
    if purge and data and not others and os.path.lexists(data):
        reasons.append("the rows are there")
    if check or not reasons:
        return Outcome(bool(reasons), reasons=reasons, before=version)
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
    return Outcome(True, reasons=reasons, before=version)
