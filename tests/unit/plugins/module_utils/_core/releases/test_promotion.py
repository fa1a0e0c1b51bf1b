# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Promoting, rolling back and holding, on names and digests alone; with a real server it is tested in tests/real."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts.layout import Layout
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError, RemoteError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.releases.promotion import Releases
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.locks import FileLock
from ansible_collections.ia_homelab.llamafactory.tests.support.shelf import Shelf as BareShelf

LATEST = "m:latest"


class Shelf(BareShelf):
    """One that dies when it is told to.

    :param versions: made under ``m:v<number>``, each with a digest of its own.
    """

    def __init__(self, versions: int = 0) -> None:
        super().__init__()
        self.dies_at = -1
        self.copies = 0
        for number in range(1, versions + 1):
            self.make(number)

    def make(self, number: int) -> str:
        self.models[f"m:v{number}"] = f"{number:064x}"
        return f"m:v{number}"

    def copy(self, source: str, destination: str) -> None:
        if self.copies == self.dies_at:
            raise KeyboardInterrupt
        self.copies += 1
        super().copy(source, destination)

    @property
    def served(self) -> str:
        """Which version ``latest`` is."""
        found = self.models.get(LATEST)
        return next((name for name, digest in self.models.items() if digest == found and name != LATEST), "")


@pytest.fixture
def releases(tmp_path: Path) -> Releases:
    return Releases(Layout(str(tmp_path)), "m")


def promoted(releases: Releases, shelf: Shelf, *numbers: int) -> None:
    for number in numbers:
        releases.promote(shelf.ollama, shelf.make(number), [LATEST])


def test_promoted_and_rolled_back(releases: Releases) -> None:
    shelf = Shelf()
    promoted(releases, shelf, 1, 2)
    assert shelf.served == "m:v2"
    planned = releases.plan_rollback(shelf.tags())
    assert shelf.served == "m:v2" and releases.ledger().hold is None, "planning changes nothing"
    done = releases.rollback(shelf.ollama)
    assert (planned.tag, planned.moved, planned.changed) == (done.tag, done.moved, done.changed) == (
        "m:v1", (LATEST,), True,
    )  # fmt: skip
    assert done.previous == {LATEST: {"digest": shelf.models["m:v2"], "tag": "m:v2"}}
    assert shelf.served == "m:v1"
    assert done.hold is not None and done.hold.against == ("m:v2",)


def test_again_goes_no_further_back(releases: Releases) -> None:
    shelf = Shelf()
    promoted(releases, shelf, 1, 2, 3)
    releases.rollback(shelf.ollama)
    again = releases.rollback(shelf.ollama)
    assert not again.changed and again.tag == "m:v2" and shelf.served == "m:v2"
    further = releases.rollback(shelf.ollama, "v1")
    assert further.changed and shelf.served == "m:v1"
    assert further.hold is not None and "m:v3" in further.hold.against
    assert not releases.rollback(shelf.ollama, "v1").changed


def test_a_hold_is_kept_until_it_is_released(releases: Releases) -> None:
    shelf = Shelf()
    promoted(releases, shelf, 1, 2)
    releases.rollback(shelf.ollama)
    assert releases.misplaced(shelf.tags(), "m:v2", [LATEST]) == [], "nothing to do for who applies"
    assert releases.promote(shelf.ollama, "m:v2", [LATEST]).moved == () and shelf.served == "m:v1"
    assert releases.release(check=True) and releases.ledger().hold
    assert releases.release() and not releases.release()
    assert releases.misplaced(shelf.tags(), "m:v2", [LATEST]) == [f"{LATEST} is another model than m:v2"]
    assert releases.promote(shelf.ollama, "m:v2", [LATEST]).moved == (LATEST,) and shelf.served == "m:v2"
    assert releases.previous(shelf.tags()) == "m:v1"


def test_a_hold_ends_when_something_else_is_declared(releases: Releases) -> None:
    shelf = Shelf()
    promoted(releases, shelf, 1, 2)
    releases.rollback(shelf.ollama)
    promoted(releases, shelf, 3)
    assert shelf.served == "m:v3" and releases.ledger().hold is None
    assert releases.previous(shelf.tags()) == "m:v1", "the way back is what was served, not what was refused"


def test_what_is_held_is_put_back_when_somebody_moves_it(releases: Releases) -> None:
    shelf = Shelf()
    promoted(releases, shelf, 1, 2)
    releases.rollback(shelf.ollama)
    shelf.models[LATEST] = shelf.models["m:v2"]
    assert releases.misplaced(shelf.tags(), "m:v2", [LATEST]) == [f"{LATEST} is another model than m:v1"]
    releases.promote(shelf.ollama, "m:v2", [LATEST])
    assert shelf.served == "m:v1"


def test_a_version_in_the_making_is_kept_out_too(releases: Releases) -> None:
    shelf = Shelf()
    promoted(releases, shelf, 1, 2)
    releases.rollback(shelf.ollama, also_against=["m:v3"])
    promoted(releases, shelf, 3)
    assert shelf.served == "m:v1"


def test_a_shut_gate_and_then_a_rollback(releases: Releases) -> None:
    """What was declared and not promoted is what the rollback is against, beside what was served."""
    shelf = Shelf()
    promoted(releases, shelf, 1, 2)
    releases.declare(shelf.make(3), [LATEST])
    assert releases.rollback(shelf.ollama).tag == "m:v1"
    assert releases.kept_out("m:v3") is not None


def test_back_to_what_is_declared_is_no_hold(releases: Releases) -> None:
    shelf = Shelf()
    promoted(releases, shelf, 1, 2)
    releases.rollback(shelf.ollama)
    forward = releases.rollback(shelf.ollama, "v2")
    assert shelf.served == "m:v2" and forward.hold is None and releases.ledger().hold is None


def test_nothing_to_go_back_to(releases: Releases) -> None:
    shelf = Shelf()
    with pytest.raises(InputError, match="was ever promoted"):
        releases.rollback(shelf.ollama)
    promoted(releases, shelf, 1)
    with pytest.raises(InputError, match="no other version"):
        releases.rollback(shelf.ollama)
    with pytest.raises(InputError, match=r"'v9' is no version of m in Ollama. There are: v1"):
        releases.rollback(shelf.ollama, "v9")
    promoted(releases, shelf, 2)
    del shelf.models["m:v1"]
    with pytest.raises(InputError, match="no other version"):
        releases.rollback(shelf.ollama)
    assert shelf.served == "m:v2"


def test_versions_by_their_beginning(releases: Releases) -> None:
    shelf = Shelf()
    shelf.models |= {"m:abcd01-q4_K_M": "a" * 64, "m:abcd02-q4_K_M": "b" * 64, "other:abcd03": "c" * 64}
    assert releases.find(shelf.tags(), "ABCD01") == "m:abcd01-q4_K_M"
    assert releases.find(shelf.tags(), "m:abcd02-q4_k_m") == "m:abcd02-q4_K_M"
    with pytest.raises(InputError, match="more than one"):
        releases.find(shelf.tags(), "abcd")
    with pytest.raises(InputError, match="is no version"):
        releases.find(shelf.tags(), "abcd03")
    with pytest.raises(InputError, match="is no version"):
        releases.find(shelf.tags(), "abc")


def test_a_tag_that_somebody_moved(releases: Releases) -> None:
    """The way back is what we had put there."""
    shelf = Shelf()
    promoted(releases, shelf, 1, 2)
    shelf.models[LATEST] = "f" * 64
    assert releases.previous(shelf.tags()) == "m:v2"
    assert releases.rollback(shelf.ollama).tag == "m:v2" and shelf.served == "m:v2"
    kept = f"m:before-{'f' * 12}"
    assert shelf.models[kept] == "f" * 64, "theirs is kept"


def test_what_is_declared_has_to_be_there(releases: Releases) -> None:
    with pytest.raises(RemoteError, match="m:v1 is not in Ollama"):
        releases.promote(Shelf().ollama, "m:v1", [LATEST])
    assert releases.misplaced([], "m:v1", [LATEST]) == ["m:v1 is not in Ollama"]
    assert releases.misplaced([], "m:v1", []) == []


def test_names_that_are_no_names_of_files(tmp_path: Path) -> None:
    layout = Layout(str(tmp_path))
    folder = layout.path("outputs", "served")
    for name, file in (("me/M", "me%2Fm"), ("registry.lan:5000/me/m", "registry.lan%3A5000%2Fme%2Fm")):
        assert Releases(layout, name).directory == f"{folder}/{file}"


def test_a_damaged_ledger_loses_the_past_and_stops_nobody(releases: Releases) -> None:
    shelf = Shelf()
    promoted(releases, shelf, 1)
    Path(releases.directory, "ledger.json").write_text("{")
    promoted(releases, shelf, 2)
    assert shelf.served == "m:v2" and releases.previous(shelf.tags()) == "m:v1"


def test_one_at_a_time(releases: Releases) -> None:
    shelf = Shelf()
    promoted(releases, shelf, 1)
    other = FileLock(f"{releases.directory}/lock", timeout=0)
    assert other.acquire(), "nobody holds it when all is done"
    other.release()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(
    st.lists(st.sampled_from(["declare", "apply", "rollback", "release", "theirs"]), min_size=1, max_size=14),
    st.integers(0, 8),
)
def test_whatever_happens_and_dies(tmp_path_factory: pytest.TempPathFactory, acts: list[str], dies_at: int) -> None:
    """Killed at any copy, then applied again: what shall be served is, and a hold is never undone by an apply."""
    releases = Releases(Layout(str(tmp_path_factory.mktemp("ledger"))), "m")
    shelf = Shelf()
    shelf.dies_at = dies_at
    declared = 1
    for act in acts:
        try:
            if act == "declare":
                declared += 1
            elif act == "apply":
                promoted(releases, shelf, declared)
            elif act == "rollback":
                releases.rollback(shelf.ollama)
            elif act == "release":
                releases.release()
            else:
                shelf.models[LATEST] = "f" * 64
        except InputError:
            pass
        except KeyboardInterrupt:
            shelf.dies_at = -1
    shelf.dies_at = -1
    tag = shelf.make(declared)
    hold = releases.kept_out(tag)
    releases.promote(shelf.ollama, tag, [LATEST])
    assert shelf.served == (hold.tag if hold else tag)
    assert releases.misplaced(shelf.tags(), tag, [LATEST]) == []
    assert releases.promote(shelf.ollama, tag, [LATEST]).changed is False
