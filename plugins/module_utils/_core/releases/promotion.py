# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which version of a model is served: promotion, rollback and holds.

Ollama's tags are authoritative. Each model also has a ledger (``outputs/served/NAME/ledger.json``): the moves of its
tags with their previous targets, the last declaration, and the hold of a rollback. The ledger is written before a tag
is moved, so that a kill in between does not lose the previous target. A tag is moved by one copy of a manifest, so that
either the old or the new model always answers.

A hold lists the versions it blocks (``against``) and the one that is served instead (``tag``). A declaration that
produces another version is not blocked, and ends the hold.
"""

from __future__ import annotations

import dataclasses
import os
import typing as t
import urllib.parse

from ..artifacts.layout import Layout
from ..errors import InputError, RemoteError
from ..messages.message import Message
from ..ollama.client import Ollama
from ..ollama.syntax import check_name, same_model, same_name
from ..system.clock import utc_now
from ..system.files import make_dirs, read_record, write_json
from ..system.locks import FileLock
from .recipes import earlier_fingerprints, later_fingerprints

#: Maximum number of moves in a ledger.
_MOST_MOVES = 500
_BEFORE = "before-"

Models = t.Sequence[t.Mapping[str, t.Any]]
#: Called before a tag is moved, with its full name and its current target (``digest``, ``tag``; None for a new tag).
BeforeMove = t.Callable[[str, "dict[str, str] | None"], None]


@dataclasses.dataclass(frozen=True)
class Hold:
    """The hold that a rollback creates.

    :param tag: full name of the version that is served.
    :param against: full names of the versions that must not replace it.
    :param at: time of the rollback.
    """

    tag: str
    against: tuple[str, ...]
    at: str

    def blocks(self, *tags: str) -> bool:
        """Whether the hold blocks a version, under one of its tags."""
        return any(same_name(tag, other) for tag in tags for other in self.against)


@dataclasses.dataclass(frozen=True)
class Ledger:
    """The recorded history of a model.

    :param declared: full name of the version that was declared last.
    :param aliases: full names of the tags that users call, as declared last.
    :param moves: each with ``at``, ``alias``, ``tag``, ``digest``, ``before`` (``tag``, ``digest``; None) and ``by``
        (``apply`` or ``rollback``), the latest last.
    :param gates: by version, the last result of its gate: ``passed``, ``at``, ``promotion``, ``met``, ``asked``.
    """

    declared: str = ""
    aliases: tuple[str, ...] = ()
    moves: tuple[dict[str, t.Any], ...] = ()
    hold: Hold | None = None
    gates: dict[str, dict[str, t.Any]] = dataclasses.field(default_factory=dict)

    def as_dict(self) -> dict[str, t.Any]:
        """The ledger as JSON values."""
        return {"schema": 1, **dataclasses.asdict(self)}


@dataclasses.dataclass(frozen=True)
class Change:
    """The result of a promotion, a rollback or a release, performed or planned.

    :param tag: full name of the version that the aliases point to.
    :param moved: the aliases that are moved to it.
    :param previous: previous target of each of them (``digest``, ``tag``); None for a new alias.
    :param hold: the hold afterwards.
    :param changed: whether Ollama or the ledger changes.
    """

    tag: str
    moved: tuple[str, ...]
    previous: dict[str, dict[str, str] | None]
    hold: Hold | None
    changed: bool


class Releases:
    """The versions of one model, and which of them is served.

    :param name: the model's name, without a tag.
    """

    def __init__(self, layout: Layout, name: str) -> None:
        self.name = name
        # Ollama ignores case when it compares names
        self.directory = layout.path("outputs", "served", urllib.parse.quote(name.lower(), safe=""))
        self._path = os.path.join(self.directory, "ledger.json")

    # -- queries -----------------------------------------------------------------------------------------------

    def ledger(self) -> Ledger:
        """The recorded history; an empty ledger if there is none or it is damaged. Read-only."""
        raw = read_record(self._path) or {}
        hold = raw.get("hold")
        moves = [move for move in raw.get("moves") or [] if isinstance(move, dict) and move.get("tag")]
        return Ledger(
            str(raw.get("declared") or ""),
            tuple(str(alias) for alias in raw.get("aliases") or []),
            tuple(moves),
            Hold(str(hold["tag"]), tuple(hold["against"]), str(hold["at"])) if hold else None,
            dict(raw.get("gates") or {}),
        )

    def blocking_hold(self, tag: str, formerly: t.Sequence[str] = ()) -> Hold | None:
        """The hold that blocks a version; None if none does.

        :param formerly: full names of earlier registrations of the same version (:func:`former_tags`).
        """
        hold = self.ledger().hold
        return hold if hold is not None and hold.blocks(tag, *formerly) else None

    def version_to_serve(self, tag: str, formerly: t.Sequence[str] = ()) -> str:
        """The version to serve when ``tag`` is declared: ``tag`` itself, or the pinned version if a hold blocks it."""
        hold = self.blocking_hold(tag, formerly)
        return hold.tag if hold else tag

    def _latest(self, tag: str, later: t.Sequence[str]) -> str:
        """The declared version if it is a later registration of the version ``tag``; otherwise ``tag``."""
        declared = self.ledger().declared
        return declared if any(same_name(declared, each) for each in later) else tag

    def misplaced(
        self,
        models: Models,
        tag: str,
        aliases: t.Sequence[str],
        formerly: t.Sequence[str] = (),
        later: t.Sequence[str] = (),
    ) -> list[Message]:
        """Tags that do not point to the version to serve, as phrases; empty if all do.

        :param models: the list of :meth:`Ollama.tags`.
        :param tag: full name of the declared version.
        :param aliases: full names of the tags.
        :param formerly: full names of earlier registrations of the same version.
        :param later: full names of its registrations by later recipes: if one of them is declared, it is the version.
        """
        target = self.version_to_serve(self._latest(tag, later), formerly)
        digest = digest_of(models, target)
        if aliases and not digest:
            return [Message("releases.not_in_ollama", tag=target)]
        wrong = []
        for full in aliases:
            current = digest_of(models, full)
            if current != digest:
                code = "releases.alias_differs" if current else "releases.alias_missing"
                wrong.append(Message(code, alias=full, tag=target))
        return wrong

    def previous(self, models: Models) -> str:
        """The target of a rollback: full name of the previous target of the first alias; empty if there is none.

        If the alias was moved by another program, it is the version that this ledger recorded last. A model identical
        to the served one is not a rollback target. If one of two identical versions was removed from Ollama,
        the other one is returned.
        """
        ledger = self.ledger()
        if not ledger.aliases:
            return ""
        moves = [move for move in ledger.moves if same_name(move["alias"], ledger.aliases[0])]
        served_digest = digest_of(models, ledger.aliases[0])
        for move in [*moves[-1:], *(earlier["before"] for earlier in reversed(moves) if earlier.get("before"))]:
            tag = self._surviving_tag(models, move)
            if tag and digest_of(models, tag) != served_digest:
                return tag
        return ""

    def _surviving_tag(self, models: Models, move: t.Mapping[str, t.Any]) -> str:
        """The tag that a move recorded, or another tag of this model with the same digest; empty if neither exists."""
        if digest_of(models, str(move.get("tag") or "")):
            return str(move["tag"])
        aliases = self.ledger().aliases
        names = [str(model["name"]) for model in models if move.get("digest") and model.get("digest") == move["digest"]]
        own = [name for name in names if same_model(name, self.name) and not any(same_name(name, a) for a in aliases)]
        return own[0] if own else ""

    def find(self, models: Models, version: str) -> str:
        """Full name of the version with a tag, or with the only tag that begins with ``version``.

        :raises InputError: if no version matches, or more than one.
        """
        own = [str(model["name"]) for model in models if same_model(str(model["name"]), self.name)]
        aliases = self.ledger().aliases
        versions = [name for name in own if not any(same_name(name, alias) for alias in aliases)]
        exact = [name for name in versions if same_name(name, version) or _tag_of(name) == version.lower()]
        prefixed = [name for name in versions if len(version) >= 4 and _tag_of(name).startswith(version.lower())]
        matches = exact or prefixed
        if len(matches) != 1:
            available = [_tag_of(name) for name in sorted(matches or versions)]
            if not available:
                raise InputError("releases.no_versions", version=version, name=self.name)
            code = "releases.version_ambiguous" if matches else "releases.version_unknown"
            raise InputError(code, version=version, name=self.name, available=available)
        return matches[0]

    def plan_rollback(self, models: Models, version: str = "", also_against: t.Sequence[str] = ()) -> Change:
        """The change that :meth:`rollback` would perform. Read-only.

        :raises InputError: if there is no version to roll back to.
        """
        ledger = self.ledger()
        if not ledger.aliases:
            raise InputError("releases.never_promoted", name=self.name)
        if not version and ledger.hold is not None:
            target = ledger.hold.tag
        else:
            target = self.find(models, version) if version else self.previous(models)
        digest = digest_of(models, target) if target else ""
        if not digest:
            if not target:
                raise InputError("releases.no_other_version", name=self.name)
            raise InputError("releases.rollback_target_gone", name=self.name, tag=target)
        against = [ledger.declared, *also_against, *(ledger.hold.against if ledger.hold else ())]
        blocked = tuple(dict.fromkeys(tag for tag in against if tag and not same_name(tag, target)))
        # rolling "back" to the declared version needs no hold: no version has to be blocked
        hold = Hold(target, blocked, utc_now()) if blocked and not same_name(target, ledger.declared) else None
        current_hold = ledger.hold
        if (
            current_hold
            and hold
            and same_name(current_hold.tag, hold.tag)
            and set(current_hold.against) == set(hold.against)
        ):
            hold = current_hold
        moves = {full: digest_of(models, full) for full in ledger.aliases if digest_of(models, full) != digest}
        previous: dict[str, dict[str, str] | None] = {
            full: {"digest": digest_before, "tag": ""} if digest_before else None
            for full, digest_before in moves.items()
        }
        return Change(target, tuple(moves), previous, hold, bool(moves) or hold != current_hold)

    # -- changes -----------------------------------------------------------------------------------------------

    def locked(self) -> FileLock:
        """A lock against concurrent promotion, rollback and release of this model."""
        make_dirs(self.directory)
        return FileLock(os.path.join(self.directory, "lock"))

    def declare(self, tag: str, aliases: t.Sequence[str]) -> None:
        """Record the declaration before its promotion, so that a rollback in between blocks the right version."""
        with self.locked():
            ledger = self.ledger()
            if ledger.declared != tag or ledger.aliases != tuple(aliases):
                self._write(dataclasses.replace(ledger, declared=tag, aliases=tuple(aliases)))

    def promote(
        self,
        ollama: Ollama,
        tag: str,
        aliases: t.Sequence[str],
        before_move: BeforeMove | None = None,
        formerly: t.Sequence[str] = (),
        later: t.Sequence[str] = (),
    ) -> Change:
        """Move the aliases to a version, or to the pinned version if a hold blocks it.

        :param tag: full name of the declared version.
        :param aliases: full names of the tags to move.
        :param formerly: full names of earlier registrations of the same version: a hold that blocks one of them blocks
            the version.
        :param later: full names of its registrations by later recipes: if one of them is declared, it stays declared.
        :raises RemoteError: if the version is not in Ollama.
        """
        with self.locked():
            tag = self._latest(tag, later)
            ledger = self.ledger()
            hold = ledger.hold if ledger.hold is not None and ledger.hold.blocks(tag, *formerly) else None
            if hold is not None and not hold.blocks(tag):
                hold = dataclasses.replace(hold, against=(*hold.against, tag))
            ledger = dataclasses.replace(ledger, declared=tag, aliases=tuple(aliases), hold=hold)
            if ledger != self.ledger():
                self._write(ledger)
            target = hold.tag if hold else tag
            moved, previous = self._move(ollama, target, aliases, "rollback" if hold else "apply", before_move)
            return Change(target, tuple(moved), previous, hold, bool(moved))

    def rollback(self, ollama: Ollama, version: str = "", also_against: t.Sequence[str] = ()) -> Change:
        """Point the aliases to an earlier version, and hold it there.

        Without a version, the target is the previous one. A repeated call while that hold exists changes nothing.

        :param version: tag of a version, or the beginning of one.
        :param also_against: versions that active runs are building.
        :raises InputError: if there is no version to roll back to.
        """
        with self.locked():
            planned = self.plan_rollback(ollama.tags(), version, also_against)
            if not planned.changed:
                return planned
            ledger = self.ledger()
            self._write(dataclasses.replace(ledger, hold=planned.hold))
            moved, previous = self._move(ollama, planned.tag, ledger.aliases, "rollback", None)
            return dataclasses.replace(planned, moved=tuple(moved), previous=previous)

    def replace_held(self, ollama: Ollama, tag: str, replacement: str) -> tuple[str, ...]:
        """Pin and serve another registration of the version that a hold pins.

        The ledger is written first: after a kill in between, the next promotion moves the aliases.

        :param tag: full name of the pinned version; if it is not pinned any more, nothing happens.
        :param replacement: full name of the other registration of the same version.
        :returns: the aliases that were moved.
        """
        with self.locked():
            ledger = self.ledger()
            if ledger.hold is None or not same_name(ledger.hold.tag, tag):
                return ()
            self._write(dataclasses.replace(ledger, hold=dataclasses.replace(ledger.hold, tag=replacement)))
            moved, _previous = self._move(ollama, replacement, ledger.aliases, "rollback", None)
            return tuple(moved)

    def release(self, check: bool = False) -> bool:
        """End a hold, so that the next apply promotes the declared version. Returns False if there was no hold.

        :param check: only report, change nothing.
        """
        if self.ledger().hold is None:
            return False
        if not check:
            with self.locked():
                self._write(dataclasses.replace(self.ledger(), hold=None))
        return True

    def record_gate(self, tag: str, promotion: str, entry: t.Mapping[str, t.Any], report: t.Mapping[str, t.Any]) -> str:
        """Store the result of an evaluation, and the report as it was compared; each version keeps only its latest.

        :param promotion: fingerprint of the promotion that compared it with what is required.
        :param entry: ``passed``, ``at``, ``met``, ``asked``.
        :param report: the report of the evaluation.
        :returns: path of the report.
        """
        path = self.gate_report(tag)
        with self.locked():
            write_json(path, dict(report))
            ledger = self.ledger()
            gates = {**ledger.gates, tag: {**entry, "promotion": promotion}}
            self._write(dataclasses.replace(ledger, gates=gates))
        return path

    def gate_report(self, tag: str) -> str:
        """Path of the report of a version's last evaluation, whether it exists or not.

        Versions up to 0.1 of the collection wrote reports of a gate alone, which have ``questions``.
        """
        return os.path.join(self.directory, f"gate-{_tag_of(tag)}.json")

    def _move(
        self, ollama: Ollama, tag: str, aliases: t.Sequence[str], by: str, before_move: BeforeMove | None
    ) -> tuple[list[str], dict[str, dict[str, str] | None]]:
        previous: dict[str, dict[str, str] | None] = {}

        def record_move(full: str, before: dict[str, str] | None) -> None:
            previous[full] = before
            ledger = self.ledger()
            move = {
                "at": utc_now(),
                "alias": full,
                "tag": tag,
                "digest": ollama.digest(tag),
                "before": before,
                "by": by,
            }
            alias_moves = [move_record for move_record in ledger.moves if same_name(move_record["alias"], full)]
            # a move that was recorded and then killed before the copy is not recorded twice
            if not alias_moves or {**alias_moves[-1], "at": ""} != {**move, "at": ""}:
                moves = (*ledger.moves, {**move, "at": utc_now()})
                self._write(dataclasses.replace(ledger, moves=moves[-_MOST_MOVES:]))
            if before_move is not None:
                before_move(full, before)

        return move_tags(ollama, tag, aliases, record_move), previous

    def _write(self, ledger: Ledger) -> None:
        write_json(self._path, ledger.as_dict())


def content_tag(name: str, fingerprint: str, quantization: str) -> str:
    """The full name under which a model is created.

    :raises InputError: if Ollama does not allow the name.
    """
    tag = f"{name}:{fingerprint[:12]}-{quantization}"
    if ":" in name.rsplit("/", 1)[-1]:
        raise InputError("releases.name_with_tag", name=name)
    return check_name(tag)


def former_tags(
    name: str, settings: t.Mapping[str, t.Any], upstream: t.Mapping[str, str], quantization: str
) -> tuple[str, ...]:
    """The full names that a registration's version had by earlier recipes, the latest first.

    :param settings: settings of the registration; :param upstream: fingerprints of its inputs.
    """
    return tuple(content_tag(name, each, quantization) for each in earlier_fingerprints(settings, upstream))


def later_tags(
    name: str, settings: t.Mapping[str, t.Any], upstream: t.Mapping[str, str], quantization: str
) -> tuple[str, ...]:
    """The full names that a registration's version has by later recipes; parameters as for :func:`former_tags`."""
    return tuple(content_tag(name, each, quantization) for each in later_fingerprints(settings, upstream))


def move_tags(ollama: Ollama, tag: str, aliases: t.Sequence[str], before_move: BeforeMove | None = None) -> list[str]:
    """Move aliases to a model, each with one copy of its manifest: an alias always answers as the old or the new model.

    The previous target stays available: if it has no other tag, it gets ``<name>:before-<digest>`` first.

    :param tag: full name of the model.
    :param aliases: full names of the tags to move; those that already point to the model are skipped.
    :param before_move: called before a tag is moved.
    :returns: the tags that were moved.
    :raises RemoteError: if there is no model under ``tag``.
    """
    moved = []
    for full in aliases:
        models = ollama.tags()
        digest = digest_of(models, tag)
        if not digest:
            raise RemoteError("releases.tag_missing", tag=tag, url=ollama.url, details={"url": ollama.url})
        old_digest = digest_of(models, full)
        if old_digest == digest:
            continue
        before = None
        if old_digest:
            names = [str(model["name"]) for model in models if model.get("digest") == old_digest]
            others = [
                candidate
                for candidate in names
                if same_model(candidate, full) and not any(same_name(candidate, alias) for alias in aliases)
            ]
            if not others:
                others = [f"{full.rpartition(':')[0]}:{_BEFORE}{old_digest[:12]}"]
                ollama.copy(full, others[0])
            before = {"digest": old_digest, "tag": others[0]}
        if before_move is not None:
            before_move(full, before)
        ollama.copy(tag, full)
        moved.append(full)
    return moved


def digest_of(models: Models, name: str) -> str:
    """Digest of the model of that name in a list of :meth:`Ollama.tags`; empty if there is none."""
    return next((str(model["digest"]) for model in models if same_name(str(model.get("name", "")), name)), "")


def hold_warning(name: str, tag: str, hold: Hold) -> Message:
    """The warning about a hold to show on apply."""
    return Message("releases.held", name=name, held=hold.tag, since=hold.at, tag=tag)


def _tag_of(name: str) -> str:
    """The tag of a full name."""
    return name.rpartition(":")[2].lower() if ":" in name else "latest"
