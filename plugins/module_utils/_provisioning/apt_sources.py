# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The package sources of apt, in both formats, and whether one of them has a repository already.

apt reads no source at all, and so installs and removes nothing, if two sources name the same repository with different
values of Signed-By. So a repository that is configured already is used as it is, and never written a second time.

The formats are described in sources.list(5).
"""

from __future__ import annotations

import dataclasses
import glob
import os
import re
import typing as t

from .._core.messages.message import Message
from .system import read_text, run

#: First line of the sources that the role nvidia_docker writes.
SOURCE_HEADER = "# Managed by ia_homelab.llamafactory.nvidia_docker."
_FOLDER = "etc/apt/sources.list.d"
_LINE = re.compile(r"(deb|deb-src)\s+(?:\[([^]]*)]\s*)?(\S+)\s+(\S+)(.*)")
_NO = ("no", "false", "without", "off", "disable", "0")


@dataclasses.dataclass(frozen=True)
class Source:
    """One repository of a source: a line, or one of the URIs and suites of a stanza.

    :param line: where it starts in the file.
    :param signed_by: path of a key, fingerprints or a key itself; empty for all keys that apt trusts.
    :param architectures: empty for those of the system.
    """

    path: str
    line: int
    types: tuple[str, ...]
    uri: str
    suite: str
    components: tuple[str, ...] = ()
    architectures: tuple[str, ...] = ()
    signed_by: str = ""

    @property
    def place(self) -> str:
        """Path and line, as messages name them."""
        return f"{self.path}:{self.line}"


@dataclasses.dataclass(frozen=True)
class Repository:
    """A repository that the role needs.

    :param path: file that the role writes its source to.
    :param key: file of the key that the role writes.
    :param uri: its base URI for this system.
    :param components: those that the packages are in; empty for a repository without components.
    """

    path: str
    key: str
    uri: str
    suite: str
    components: tuple[str, ...] = ()


def architecture() -> str:
    """Debian's name of the architecture of this system; empty without dpkg."""
    status, text = run("dpkg", "--print-architecture", stderr=False)
    return text.strip() if status == 0 else ""


def read_sources(root: str = "/") -> list[Source]:
    """All enabled sources of apt."""
    folder = os.path.join(root, _FOLDER)
    lists = [os.path.join(root, "etc/apt/sources.list"), *sorted(glob.glob(os.path.join(folder, "*.list")))]
    found: list[Source] = []
    for path in lists:
        found += _read_lines(read_text(path), _shown(path, root))
    for path in sorted(glob.glob(os.path.join(folder, "*.sources"))):
        found += _read_stanzas(read_text(path), _shown(path, root))
    return found


def _shown(path: str, root: str) -> str:
    return "/" + os.path.relpath(path, root)


def _read_lines(text: str, path: str) -> t.Iterator[Source]:
    for number, line in enumerate(text.splitlines(), 1):
        match = _LINE.fullmatch(line.partition("#")[0].strip())
        if match is None:
            continue
        kind, settings, uri, suite, components = match.groups()
        pairs = (word.partition("=") for word in (settings or "").split())
        options = {name.rstrip("+").lower(): value for name, _equals, value in pairs}
        yield Source(
            path,
            number,
            (kind,),
            uri,
            suite,
            tuple(components.split()),
            tuple(filter(None, options.get("arch", "").split(","))),
            options.get("signed-by", ""),
        )


def _read_stanzas(text: str, path: str) -> t.Iterator[Source]:
    fields: dict[str, str] = {}
    start = 0
    name = ""
    for number, line in enumerate([*text.splitlines(), ""], 1):
        if line.startswith("#"):
            continue
        if not line.strip():
            yield from _of_stanza(fields, path, start)
            fields, name = {}, ""
        elif line[0] in " \t":
            if name:
                fields[name] += "\n" + line.strip()
        else:
            if not fields:
                start = number
            name = line.partition(":")[0].strip().lower()
            fields[name] = line.partition(":")[2].strip()


def _of_stanza(fields: t.Mapping[str, str], path: str, line: int) -> t.Iterator[Source]:
    if fields.get("enabled", "yes").lower() in _NO:
        return
    for uri in fields.get("uris", "").split():
        for suite in fields.get("suites", "").split():
            yield Source(
                path,
                line,
                tuple(fields.get("types", "").split()),
                uri,
                suite,
                tuple(fields.get("components", "").split()),
                tuple(fields.get("architectures", "").split()),
                fields.get("signed-by", ""),
            )


def normal_uri(uri: str, arch: str) -> str:
    """A URI in the form in which equal repositories have equal URIs, whatever the scheme that they are read by."""
    value = uri.replace("$(ARCH)", arch).rstrip("/")
    match = re.fullmatch(r"(?i)https?://(?:[^/@]*@)?([^/]+)(.*)", value)
    return f"//{match.group(1).lower()}{match.group(2)}" if match else value


def _normal_suite(suite: str) -> str:
    return suite if suite == "/" else suite.removeprefix("./").rstrip("/") or "/"


def is_own(path: str, legacy: str = "", root: str = "/") -> bool:
    """Whether the role nvidia_docker has written a source.

    :param legacy: content that earlier versions of the role, which wrote no header, gave the file; empty if none of
        them has been on this host.
    """
    text = read_text(os.path.join(root, path.lstrip("/")))
    if text.startswith(SOURCE_HEADER):
        return True
    return bool(legacy and text.strip()) and text.split() == legacy.split()


def state_of(
    repository: Repository, sources: t.Sequence[Source], *, own: bool, arch: str, root: str = "/"
) -> dict[str, t.Any]:
    """What apt's sources have of a repository.

    :param sources: all of them.
    :param own: whether the role has written ``repository.path``.
    :returns: ``source``, path and line of the source of another owner that has the repository (empty if there is
        none), and its ``suite``; ``own``, whether the role's source exists; ``beside``, a source of another owner
        because of which that one has to go (empty if there is none); ``key_used``, whether a source of another owner
        uses the role's key; and the ``problem`` because of which the role can neither use what is there nor write a
        source (empty if there is none).
    """
    others = [source for source in sources if not (own and source.path == repository.path)]
    wanted = normal_uri(repository.uri, arch)
    same = [source for source in others if normal_uri(source.uri, arch) == wanted]
    usable = [source for source in same if _is_usable(source, repository, arch)]
    # That of this system first. One of another suite is used as well: its owner has chosen these packages.
    usable.sort(key=lambda source: _normal_suite(source.suite) != _normal_suite(repository.suite))
    problem = _conflict(same, arch)
    if problem is None and not usable:
        if same:
            problem = Message("provisioning.apt_source_partial", source=same[0].place, uri=repository.uri)
        elif not own and os.path.exists(os.path.join(root, repository.path.lstrip("/"))):
            problem = Message("provisioning.apt_source_taken", path=repository.path, uri=repository.uri)
    # One without the packages of this system is in the way as well, if apt cannot read it together with the role's.
    mine = [source for source in sources if source not in others]
    in_the_way = usable or [source for source in same if _conflict([*mine, source], arch)]
    return {
        "source": usable[0].place if usable else "",
        "suite": usable[0].suite if usable else "",
        "own": own,
        "beside": in_the_way[0].place if own and in_the_way else "",
        "key_used": any(repository.key in source.signed_by.split() for source in others),
        "problem": problem.text if problem else "",
    }


def _conflict(sources: t.Sequence[Source], arch: str) -> Message | None:
    """What is wrong if apt refuses to read these sources because of different keys for one repository."""
    for index, source in enumerate(sources):
        for other in sources[:index]:
            # As apt compares them: with the scheme.
            one, two = (
                (entry.uri.replace("$(ARCH)", arch).rstrip("/"), _normal_suite(entry.suite))
                for entry in (source, other)
            )
            if one == two and source.signed_by != other.signed_by:
                return Message("provisioning.apt_sources_conflict", uri=other.uri, one=other.place, two=source.place)
    return None


def _is_usable(source: Source, repository: Repository, arch: str) -> bool:
    return (
        "deb" in source.types
        and set(repository.components) <= set(source.components)
        and (not source.architectures or not arch or arch in source.architectures)
    )
