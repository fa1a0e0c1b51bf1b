# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Promotion, rollback and holds, on names and digests alone; tests/real covers them with a real server."""

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
    """A shelf that can be killed at a given copy.

    :param versions: number of versions, created as ``m:v<number>`` with unique digests.
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
        """The version that ``latest`` points to."""
        served_digest = self.models.get(LATEST)
        return next((name for name, digest in self.models.items() if digest == served_digest and name != LATEST), "")


@pytest.fixture
def releases(tmp_path: Path) -> Releases:
    return Releases(Layout(str(tmp_path)), "m")


def promoted(releases: Releases, shelf: Shelf, *numbers: int) -> None:
    for number in numbers:
        releases.promote(shelf.ollama, shelf.make(number), [LATEST])


def test_promotion_and_rollback(releases: Releases) -> None:
    shelf = Shelf()
    promoted(releases, shelf, 1, 2)
    assert shelf.served == "m:v2"
    planned = releases.plan_rollback(shelf.tags())
    assert shelf.served == "m:v2" and releases.ledger().hold is None, "planning changes nothing"
    change = releases.rollback(shelf.ollama)
    assert (planned.tag, planned.moved, planned.changed) == (change.tag, change.moved, change.changed) == (
        "m:v1", (LATEST,), True,
    )  # fmt: skip
    assert change.previous == {LATEST: {"digest": shelf.models["m:v2"], "tag": "m:v2"}}
    assert shelf.served == "m:v1"
    assert change.hold is not None and change.hold.against == ("m:v2",)


def test_a_repeated_rollback_goes_no_further_back(releases: Releases) -> None:
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
    assert releases.misplaced(shelf.tags(), "m:v2", [LATEST]) == [], "an apply has nothing to do"
    assert releases.promote(shelf.ollama, "m:v2", [LATEST]).moved == () and shelf.served == "m:v1"
    assert releases.release(check=True) and releases.ledger().hold
    assert releases.release() and not releases.release()
    assert [str(each) for each in releases.misplaced(shelf.tags(), "m:v2", [LATEST])] == [
        f"{LATEST} is another model than m:v2"
    ]
    assert releases.promote(shelf.ollama, "m:v2", [LATEST]).moved == (LATEST,) and shelf.served == "m:v2"
    assert releases.previous(shelf.tags()) == "m:v1"


def test_a_hold_ends_when_something_else_is_declared(releases: Releases) -> None:
    shelf = Shelf()
    promoted(releases, shelf, 1, 2)
    releases.rollback(shelf.ollama)
    promoted(releases, shelf, 3)
    assert shelf.served == "m:v3" and releases.ledger().hold is None
    assert releases.previous(shelf.tags()) == "m:v1", "the previous version is the served one, not the blocked one"


def test_a_moved_alias_is_restored_to_the_held_version(releases: Releases) -> None:
    shelf = Shelf()
    promoted(releases, shelf, 1, 2)
    releases.rollback(shelf.ollama)
    shelf.models[LATEST] = shelf.models["m:v2"]
    assert [str(each) for each in releases.misplaced(shelf.tags(), "m:v2", [LATEST])] == [
        f"{LATEST} is another model than m:v1"
    ]
    releases.promote(shelf.ollama, "m:v2", [LATEST])
    assert shelf.served == "m:v1"


def test_a_version_of_an_active_run_is_blocked_too(releases: Releases) -> None:
    shelf = Shelf()
    promoted(releases, shelf, 1, 2)
    releases.rollback(shelf.ollama, also_against=["m:v3"])
    promoted(releases, shelf, 3)
    assert shelf.served == "m:v1"


def test_a_failed_gate_followed_by_a_rollback(releases: Releases) -> None:
    """The rollback blocks the declared version that was not promoted, and the version that was served."""
    shelf = Shelf()
    promoted(releases, shelf, 1, 2)
    releases.declare(shelf.make(3), [LATEST])
    assert releases.rollback(shelf.ollama).tag == "m:v1"
    assert releases.blocking_hold("m:v3") is not None


def test_rollback_to_the_declared_version_creates_no_hold(releases: Releases) -> None:
    shelf = Shelf()
    promoted(releases, shelf, 1, 2)
    releases.rollback(shelf.ollama)
    forward = releases.rollback(shelf.ollama, "v2")
    assert shelf.served == "m:v2" and forward.hold is None and releases.ledger().hold is None


def test_no_version_to_roll_back_to(releases: Releases) -> None:
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


def test_versions_are_found_by_prefix(releases: Releases) -> None:
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


def test_a_tag_moved_by_another_program(releases: Releases) -> None:
    """The previous version is the one that the ledger recorded last."""
    shelf = Shelf()
    promoted(releases, shelf, 1, 2)
    shelf.models[LATEST] = "f" * 64
    assert releases.previous(shelf.tags()) == "m:v2"
    assert releases.rollback(shelf.ollama).tag == "m:v2" and shelf.served == "m:v2"
    kept = f"m:before-{'f' * 12}"
    assert shelf.models[kept] == "f" * 64, "the other program's model is kept"


def test_the_declared_version_must_exist(releases: Releases) -> None:
    with pytest.raises(RemoteError, match="m:v1 is not in Ollama"):
        releases.promote(Shelf().ollama, "m:v1", [LATEST])
    assert [str(each) for each in releases.misplaced([], "m:v1", [LATEST])] == ["m:v1 is not in Ollama"]
    assert releases.misplaced([], "m:v1", []) == []


def test_names_that_are_not_file_names(tmp_path: Path) -> None:
    layout = Layout(str(tmp_path))
    folder = layout.path("outputs", "served")
    for name, file in (("me/M", "me%2Fm"), ("registry.lan:5000/me/m", "registry.lan%3A5000%2Fme%2Fm")):
        assert Releases(layout, name).directory == f"{folder}/{file}"


def test_a_damaged_ledger_loses_the_history_only(releases: Releases) -> None:
    shelf = Shelf()
    promoted(releases, shelf, 1)
    Path(releases.directory, "ledger.json").write_text("{")
    promoted(releases, shelf, 2)
    assert shelf.served == "m:v2" and releases.previous(shelf.tags()) == "m:v1"


def test_changes_are_serialized(releases: Releases) -> None:
    shelf = Shelf()
    promoted(releases, shelf, 1)
    other = FileLock(f"{releases.directory}/lock", timeout=0)
    assert other.acquire(), "the lock is released at the end"
    other.release()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(
    st.lists(st.sampled_from(["declare", "apply", "rollback", "release", "foreign_move"]), min_size=1, max_size=14),
    st.integers(0, 8),
)
def test_any_sequence_with_a_kill(tmp_path_factory: pytest.TempPathFactory, acts: list[str], dies_at: int) -> None:
    """Killed at any copy, then applied again: the right version is served, and an apply never removes a hold."""
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
    hold = releases.blocking_hold(tag)
    releases.promote(shelf.ollama, tag, [LATEST])
    assert shelf.served == (hold.tag if hold else tag)
    assert releases.misplaced(shelf.tags(), tag, [LATEST]) == []
    assert releases.promote(shelf.ollama, tag, [LATEST]).changed is False
