# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which version of a model people are given: promoting, rolling back, holding.

What Ollama's tags point to is the truth. Beside it lies a ledger for each model (``outputs/served/NAME/ledger.json``):
where its tags were moved and what they pointed to before, what was declared last, and the hold a rollback leaves. It is
written before a tag is moved, so that a kill in between loses no way back; a tag is moved by one copy of a manifest, so
that the old or the new model always answers.

A hold names the versions it keeps out (``against``) and the one that is served instead (``tag``). A declaration that
makes another version is not kept out, and ends it.
"""

from __future__ import annotations

import dataclasses
import os
import typing as t
import urllib.parse

from ..artifacts.layout import Layout
from ..errors import InputError, RemoteError
from ..ollama.client import Ollama
from ..ollama.syntax import check_name, same_model, same_name
from ..system.clock import utc_now
from ..system.files import make_dirs, read_record, write_json
from ..system.locks import FileLock

#: Moves a ledger remembers.
_MOST_MOVES = 500
_BEFORE = "before-"

Models = t.Sequence[t.Mapping[str, t.Any]]
#: Told, before a tag is moved, its full name and where it points (``digest``, ``tag``; None when it is new).
Ahead = t.Callable[[str, "dict[str, str] | None"], None]


@dataclasses.dataclass(frozen=True)
class Hold:
    """What a rollback keeps.

    :param tag: full name of the version that is served.
    :param against: full names of the versions that are not to take its place.
    :param at: since when.
    """

    tag: str
    against: tuple[str, ...]
    at: str

    def keeps_out(self, tag: str) -> bool:
        """Whether a version is one of those."""
        return any(same_name(tag, other) for other in self.against)


@dataclasses.dataclass(frozen=True)
class Ledger:
    """What is remembered of a model.

    :param declared: full name of the version that was declared last.
    :param aliases: full names of the tags people use, as declared last.
    :param moves: each with ``at``, ``alias``, ``tag``, ``digest``, ``before`` (``tag``, ``digest``; None) and ``by``
        (``apply`` or ``rollback``), the latest last.
    :param gates: by version, how its gate was answered last: ``passed``, ``at``, ``promotion``, ``met``, ``asked``.
    """

    declared: str = ""
    aliases: tuple[str, ...] = ()
    moves: tuple[dict[str, t.Any], ...] = ()
    hold: Hold | None = None
    gates: dict[str, dict[str, t.Any]] = dataclasses.field(default_factory=dict)

    def as_dict(self) -> dict[str, t.Any]:
        """Plain values."""
        return {"schema": 1, **dataclasses.asdict(self)}


@dataclasses.dataclass(frozen=True)
class Change:
    """What promoting, rolling back or releasing came to, or would.

    :param tag: full name of the version under the tags people use.
    :param moved: the tags that are moved to it.
    :param previous: for each of them what it pointed to (``digest``, ``tag``); None where it is new.
    :param hold: the hold afterwards.
    :param changed: whether anything is changed, in Ollama or in the ledger.
    """

    tag: str
    moved: tuple[str, ...]
    previous: dict[str, dict[str, str] | None]
    hold: Hold | None
    changed: bool


class Releases:
    """The versions of one model, and which of them people are given.

    :param name: the model's name, without a tag.
    """

    def __init__(self, layout: Layout, name: str) -> None:
        self.name = name
        # Ollama compares names without regard to case
        self.directory = layout.path("outputs", "served", urllib.parse.quote(name.lower(), safe=""))
        self._path = os.path.join(self.directory, "ledger.json")

    # -- looking -----------------------------------------------------------------------------------------------

    def ledger(self) -> Ledger:
        """What is remembered; an empty ledger when nothing is, or it is damaged. Reads only."""
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

    def kept_out(self, tag: str) -> Hold | None:
        """The hold that keeps a version from being served; None when there is none."""
        hold = self.ledger().hold
        return hold if hold is not None and hold.keeps_out(tag) else None

    def wanted(self, tag: str) -> str:
        """The version that shall be served when ``tag`` is declared: itself, or the one that is held."""
        hold = self.kept_out(tag)
        return hold.tag if hold else tag

    def misplaced(self, models: Models, tag: str, aliases: t.Sequence[str]) -> list[str]:
        """Tags that do not point to the version that shall be served, in words; empty when all do.

        :param models: what :meth:`Ollama.tags` lists.
        :param tag: full name of the declared version.
        :param aliases: full names of the tags.
        """
        wanted = self.wanted(tag)
        digest = digest_of(models, wanted)
        if aliases and not digest:
            return [f"{wanted} is not in Ollama"]
        wrong = []
        for full in aliases:
            found = digest_of(models, full)
            if found != digest:
                wrong.append(f"{full} is {'another model than' if found else 'not there, and shall be'} {wanted}")
        return wrong

    def previous(self, models: Models) -> str:
        """The way back: full name of what the first tag people use pointed to before; empty when there is none.

        Where somebody moved that tag behind our back, it is the version we had put there. What is equal to the served
        model to the byte is no way back from it; what was removed as one of two equal ones is found by the other.
        """
        ledger = self.ledger()
        if not ledger.aliases:
            return ""
        moves = [move for move in ledger.moves if same_name(move["alias"], ledger.aliases[0])]
        now = digest_of(models, ledger.aliases[0])
        for move in [*moves[-1:], *(one["before"] for one in reversed(moves) if one.get("before"))]:
            tag = self._still(models, move)
            if tag and digest_of(models, tag) != now:
                return tag
        return ""

    def _still(self, models: Models, move: t.Mapping[str, t.Any]) -> str:
        """The tag that a move tells of, or another of this model that has the same digest; empty when neither is."""
        if digest_of(models, str(move.get("tag") or "")):
            return str(move["tag"])
        aliases = self.ledger().aliases
        names = [str(model["name"]) for model in models if move.get("digest") and model.get("digest") == move["digest"]]
        own = [name for name in names if same_model(name, self.name) and not any(same_name(name, a) for a in aliases)]
        return own[0] if own else ""

    def find(self, models: Models, version: str) -> str:
        """Full name of the version that is meant by its tag, or by the beginning of its tag.

        :raises InputError: when there is none, or more than one.
        """
        own = [str(model["name"]) for model in models if same_model(str(model["name"]), self.name)]
        aliases = self.ledger().aliases
        versions = [name for name in own if not any(same_name(name, alias) for alias in aliases)]
        exact = [name for name in versions if same_name(name, version) or _tag_of(name) == version.lower()]
        close = [name for name in versions if len(version) >= 4 and _tag_of(name).startswith(version.lower())]
        found = exact or close
        if len(found) != 1:
            what = "names more than one version" if found else "is no version"
            there = ", ".join(_tag_of(name) for name in sorted(found or versions)) or "none"
            raise InputError(f"{version!r} {what} of {self.name} in Ollama.", f"There are: {there}.")
        return found[0]

    def plan_rollback(self, models: Models, version: str = "", also_against: t.Sequence[str] = ()) -> Change:
        """What :meth:`rollback` would do. Reads only.

        :raises InputError: when there is nothing to go back to.
        """
        ledger = self.ledger()
        if not ledger.aliases:
            raise InputError(
                f"Nothing of the model {self.name} was ever promoted here.",
                "Give the name of a model declared in finetunes.",
            )
        if not version and ledger.hold is not None:
            target = ledger.hold.tag
        else:
            target = self.find(models, version) if version else self.previous(models)
        digest = digest_of(models, target) if target else ""
        if not digest:
            what = f"{target} is not in Ollama any more" if target else "it has had no other version"
            raise InputError(
                f"{self.name} cannot be rolled back: {what}.", "playbooks/status.yml shows the versions there are."
            )
        against = [ledger.declared, *also_against, *(ledger.hold.against if ledger.hold else ())]
        kept_out = tuple(dict.fromkeys(tag for tag in against if tag and not same_name(tag, target)))
        # going to the very version that is declared is no rollback: there is nothing to be kept from
        hold = Hold(target, kept_out, utc_now()) if kept_out and not same_name(target, ledger.declared) else None
        old = ledger.hold
        if old and hold and same_name(old.tag, hold.tag) and set(old.against) == set(hold.against):
            hold = old
        moves = {full: digest_of(models, full) for full in ledger.aliases if digest_of(models, full) != digest}
        previous: dict[str, dict[str, str] | None] = {
            full: {"digest": old_digest, "tag": ""} if old_digest else None for full, old_digest in moves.items()
        }
        return Change(target, tuple(moves), previous, hold, bool(moves) or hold != old)

    # -- changing ----------------------------------------------------------------------------------------------

    def locked(self) -> FileLock:
        """Keeps everybody else from promoting, rolling back and releasing this model."""
        make_dirs(self.directory)
        return FileLock(os.path.join(self.directory, "lock"))

    def declare(self, tag: str, aliases: t.Sequence[str]) -> None:
        """Note what is declared, before it is promoted: a rollback in between knows what it is against."""
        with self.locked():
            ledger = self.ledger()
            if ledger.declared != tag or ledger.aliases != tuple(aliases):
                self._write(dataclasses.replace(ledger, declared=tag, aliases=tuple(aliases)))

    def promote(self, ollama: Ollama, tag: str, aliases: t.Sequence[str], ahead: Ahead | None = None) -> Change:
        """Move the tags people use to a version, or to the one that is held against it.

        :param tag: full name of the declared version.
        :param aliases: full names of the tags.
        :raises RemoteError: when the version is not there.
        """
        with self.locked():
            ledger = self.ledger()
            hold = ledger.hold if ledger.hold is not None and ledger.hold.keeps_out(tag) else None
            ledger = dataclasses.replace(ledger, declared=tag, aliases=tuple(aliases), hold=hold)
            if ledger != self.ledger():
                self._write(ledger)
            target = hold.tag if hold else tag
            moved, previous = self._move(ollama, target, aliases, "rollback" if hold else "apply", ahead)
            return Change(target, tuple(moved), previous, hold, bool(moved))

    def rollback(self, ollama: Ollama, version: str = "", also_against: t.Sequence[str] = ()) -> Change:
        """Put an earlier version back under the tags people use, and hold it there.

        Without a version it is the one before; asked again while that is held, nothing changes.

        :param version: tag of a version, or the beginning of one.
        :param also_against: versions that are being made at this moment.
        :raises InputError: when there is nothing to go back to.
        """
        with self.locked():
            planned = self.plan_rollback(ollama.tags(), version, also_against)
            if not planned.changed:
                return planned
            ledger = self.ledger()
            self._write(dataclasses.replace(ledger, hold=planned.hold))
            moved, previous = self._move(ollama, planned.tag, ledger.aliases, "rollback", None)
            return dataclasses.replace(planned, moved=tuple(moved), previous=previous)

    def release(self, check: bool = False) -> bool:
        """End a hold; the next apply promotes what is declared. False when there was none.

        :param check: only tell.
        """
        if self.ledger().hold is None:
            return False
        if not check:
            with self.locked():
                self._write(dataclasses.replace(self.ledger(), hold=None))
        return True

    def note_gate(self, tag: str, promotion: str, found: t.Mapping[str, t.Any]) -> str:
        """Keep the report of a gate: that of the last asking for each version.

        :param promotion: fingerprint of the promotion it was asked for.
        :param found: a report of :func:`releases.gate_evaluation.evaluate`.
        :returns: where it lies.
        """
        path = self.gate_report(tag)
        with self.locked():
            write_json(path, dict(found))
            ledger = self.ledger()
            entry = {
                "passed": found["passed"],
                "at": found["asked_at"],
                "promotion": promotion,
                "met": found["candidate"]["met"],
                "asked": found["asked"],
            }
            self._write(dataclasses.replace(ledger, gates={**ledger.gates, tag: entry}))
        return path

    def gate_report(self, tag: str) -> str:
        """Where the report of a version's gate lies, or would."""
        return os.path.join(self.directory, f"gate-{_tag_of(tag)}.json")

    def _move(
        self, ollama: Ollama, tag: str, aliases: t.Sequence[str], by: str, ahead: Ahead | None
    ) -> tuple[list[str], dict[str, dict[str, str] | None]]:
        previous: dict[str, dict[str, str] | None] = {}

        def note(full: str, before: dict[str, str] | None) -> None:
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
            mine = [one for one in ledger.moves if same_name(one["alias"], full)]
            # one that was killed before it was made is made now
            if not mine or {**mine[-1], "at": ""} != {**move, "at": ""}:
                moves = (*ledger.moves, {**move, "at": utc_now()})
                self._write(dataclasses.replace(ledger, moves=moves[-_MOST_MOVES:]))
            if ahead is not None:
                ahead(full, before)

        return move_tags(ollama, tag, aliases, note), previous

    def _write(self, ledger: Ledger) -> None:
        write_json(self._path, ledger.as_dict())


def content_tag(name: str, fingerprint: str, quantization: str) -> str:
    """The full name under which a model is created.

    :raises InputError: when Ollama allows no such name.
    """
    tag = f"{name}:{fingerprint[:12]}-{quantization}"
    if ":" in name.rsplit("/", 1)[-1]:
        raise InputError(f"The name of a model is declared without a tag, not as {name!r}.", "Use aliases for tags.")
    return check_name(tag)


def move_tags(ollama: Ollama, tag: str, aliases: t.Sequence[str], ahead: Ahead | None = None) -> list[str]:
    """Move the tags people use to a model, each with one copy of its manifest: old or new, a tag always answers.

    What a tag pointed to stays: where it has no other tag, it is given ``<name>:before-<digest>`` first.

    :param tag: full name of the model.
    :param aliases: full names of the tags to move; those that are there already are left alone.
    :param ahead: told before a tag is moved.
    :returns: the tags that were moved.
    :raises RemoteError: when there is no model under ``tag``.
    """
    moved = []
    for full in aliases:
        models = ollama.tags()
        digest = digest_of(models, tag)
        if not digest:
            raise RemoteError(f"{tag} is not in Ollama at {ollama.url}.", "Register it again.", {"url": ollama.url})
        old = digest_of(models, full)
        if old == digest:
            continue
        before = None
        if old:
            names = [str(model["name"]) for model in models if model.get("digest") == old]
            others = [
                candidate
                for candidate in names
                if same_model(candidate, full) and not any(same_name(candidate, one) for one in aliases)
            ]
            if not others:
                others = [f"{full.rpartition(':')[0]}:{_BEFORE}{old[:12]}"]
                ollama.copy(full, others[0])
            before = {"digest": old, "tag": others[0]}
        if ahead is not None:
            ahead(full, before)
        ollama.copy(tag, full)
        moved.append(full)
    return moved


def digest_of(models: Models, name: str) -> str:
    """Digest of the model of that name in a listing of :meth:`Ollama.tags`; empty when there is none."""
    return next((str(model["digest"]) for model in models if same_name(str(model.get("name", "")), name)), "")


def hold_warning(name: str, tag: str, hold: Hold) -> str:
    """What the one who applies should know of a hold."""
    return (
        f"{name}: held at {hold.tag} by a rollback of {hold.at}, so {tag} is not promoted. Release it with "
        f"playbooks/rollback.yml -e model={name} -e release=true, or declare something else."
    )


def _tag_of(name: str) -> str:
    """The tag of a full name."""
    return name.rpartition(":")[2].lower() if ":" in name else "latest"
