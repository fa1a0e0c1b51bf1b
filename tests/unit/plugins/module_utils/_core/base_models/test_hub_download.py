# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Download of the files of a base model from a fake hub over real HTTP."""

from __future__ import annotations

import threading
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.base_models import resolution
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.base_models.hub_client import (
    HubClient,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.base_models.hub_download import (
    PARTS,
    Download,
    Meter,
    bytes_missing,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import (
    RemoteError,
)
from ansible_collections.ia_homelab.llamafactory.tests.support.hub_lab import (
    FILES,
    QWEN,
    TOKEN,
    WANTED,
    client,
    env,
    everything,
)
from ansible_collections.ia_homelab.llamafactory.tests.support.hub_stand_in import HubStandIn


def fetch(hub: HubStandIn, work: Path, token: str = "", repo: str = QWEN) -> dict[str, t.Any]:
    hub_client = client(hub, token)
    info = hub_client.model_info(repo, "main")
    files = resolution.select_files(resolution.hub_files(info), repo)
    reports: list[t.Any] = []
    work.mkdir(exist_ok=True)
    files_by_name = Download(hub_client, repo, info["sha"], files, str(work), sleep=lambda _seconds: None).run(
        reports.append, 0.05
    )
    assert reports[-1].current == reports[-1].total == sum(file.bytes for file in files)
    return files_by_name


def is_complete(work: Path) -> bool:
    names = {path.name for path in work.iterdir() if path.is_file()}
    return names == WANTED and all((work / name).read_bytes() == FILES[name] for name in WANTED)


def test_exactly_the_selected_files_are_downloaded(hub: HubStandIn, tmp_path: Path) -> None:
    files_by_name = fetch(hub, tmp_path / "work")
    assert is_complete(tmp_path / "work")
    assert set(files_by_name) == WANTED
    assert files_by_name["model.safetensors"]["bytes"] == 3_000_000
    # a second download transfers nothing
    sent = hub.total_sent()
    fetch(hub, tmp_path / "work")
    assert hub.total_sent() == sent


def test_token_is_never_sent_to_the_cdn(hub: HubStandIn, tmp_path: Path) -> None:
    hub.add("org/gated", FILES, gated=True, readers={TOKEN})
    fetch(hub, tmp_path / "work", TOKEN, "org/gated")
    assert any(request.cdn for request in hub.seen)
    assert not [request for request in hub.seen if request.cdn and request.token]
    assert TOKEN not in everything(str(tmp_path / "work"))


def test_interrupted_downloads_resume(hub: HubStandIn, tmp_path: Path) -> None:
    hub.drop_after, hub.drops = 700_000, 3
    fetch(hub, tmp_path / "work")
    assert is_complete(tmp_path / "work")
    assert hub.sent["model.safetensors"] == 3_000_000
    assert [request.range for request in hub.seen if request.cdn][1:] == [
        "bytes=700000-",
        "bytes=1400000-",
        "bytes=2100000-",
    ]


def test_partial_file_of_an_earlier_attempt_is_resumed(hub: HubStandIn, tmp_path: Path) -> None:
    work = tmp_path / "work"
    (work / PARTS).mkdir(parents=True)
    (work / PARTS / "model.safetensors.part").write_bytes(FILES["model.safetensors"][:2_000_000])
    files = [resolution.HubFile("model.safetensors", 3_000_000), resolution.HubFile("config.json", 10)]
    assert bytes_missing(files, str(work)) == 1_000_010
    fetch(hub, work)
    assert is_complete(work)
    assert hub.sent["model.safetensors"] == 1_000_000


@pytest.mark.parametrize(
    "part",
    [b"\0" * 2_000_000, b"\0" * 3_000_000, b"\0" * 4_000_000],
    ids=["holes", "complete and wrong", "too long"],
)
def test_damaged_partial_file_is_discarded(hub: HubStandIn, tmp_path: Path, part: bytes) -> None:
    work = tmp_path / "work"
    (work / PARTS).mkdir(parents=True)
    (work / PARTS / "model.safetensors.part").write_bytes(part)
    fetch(hub, work)
    assert is_complete(work)


def test_damaged_file_of_an_earlier_attempt_is_downloaded_again(hub: HubStandIn, tmp_path: Path) -> None:
    work = tmp_path / "work"
    fetch(hub, work)
    (work / "model.safetensors").write_bytes(b"\0" * 3_000_000)
    (work / "tokenizer.json").write_bytes(b"[]")  # right size: only the git object id detects it
    fetch(hub, work)
    assert is_complete(work)


def test_a_server_without_ranges(hub: HubStandIn, tmp_path: Path) -> None:
    hub.ignore_range = True
    hub.drop_after, hub.drops = 700_000, 2
    fetch(hub, tmp_path / "work")
    assert is_complete(tmp_path / "work")


def test_content_with_a_wrong_digest(hub: HubStandIn, tmp_path: Path) -> None:
    hub.corruptions = 1
    fetch(hub, tmp_path / "one")
    assert is_complete(tmp_path / "one")
    hub.corruptions = 2
    with pytest.raises(RemoteError, match="another size or digest than it reports"):
        fetch(hub, tmp_path / "two")
    assert not (tmp_path / "two" / "model.safetensors").exists()


def test_download_gives_up_on_a_failing_hub_and_resumes_later(hub: HubStandIn, tmp_path: Path) -> None:
    hub.drop_after, hub.drops = 1_000_000, 1
    hub_client = client(hub)
    files = resolution.select_files(resolution.hub_files(hub_client.model_info(QWEN, "main")), QWEN)
    only = [file for file in files if file.name == "model.safetensors"]
    commit = hub.repositories[QWEN].commit
    (tmp_path / "work").mkdir()

    def pause(_seconds: float) -> None:
        hub.failures = [503] * 50

    with pytest.raises(RemoteError, match="stopped at 1000000 of 3000000") as caught:
        Download(hub_client, QWEN, commit, only, str(tmp_path / "work"), sleep=pause).run(lambda _progress: None)
    assert "resumes from there" in caught.value.hint
    hub.failures = []
    before = hub.total_sent()
    Download(hub_client, QWEN, commit, only, str(tmp_path / "work")).run(lambda _progress: None)
    assert hub.total_sent() - before == 2_000_000


def test_rate_and_remaining_time() -> None:
    now = [100.0]
    meter = Meter(1000, clock=lambda: now[0])
    meter.add(400, fetched=False)  # bytes of an earlier attempt do not count for the rate
    assert meter.progress().eta_seconds is None
    now[0] += 10
    meter.add(100)
    progress = meter.progress()
    assert (progress.current, progress.total, progress.unit, progress.eta_seconds) == (500, 1000, "B", 50.0)
    now[0] += 20
    meter.add(300)
    assert meter.progress().eta_seconds == 15.0
    now[0] += 100
    assert meter.progress().eta_seconds is None  # no bytes for more than half a minute


def test_stalled_server(hub: HubStandIn, tmp_path: Path) -> None:
    """The connection stays open without data: after the time-out the download resumes."""
    info = client(hub).model_info(QWEN, "main")
    files = resolution.select_files(resolution.hub_files(info), QWEN)
    impatient = HubClient(env(hub), timeout=0.3, sleep=lambda _seconds: None)
    hub.rate = 1
    recovery = threading.Timer(0.7, setattr, (hub, "rate", 0))
    recovery.start()
    Download(impatient, QWEN, info["sha"], files, str(tmp_path)).run(lambda _progress: None, 0.05)
    recovery.join()
    assert (tmp_path / "model.safetensors").read_bytes() == FILES["model.safetensors"]
