# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Links that sign a browser in: printed by a command on the host, valid once and for five minutes."""

from __future__ import annotations

import concurrent.futures
import hashlib
import json
import os
import stat
import subprocess
import tempfile
import time
import typing as t
from pathlib import Path

import httpx
import pytest

from ansible_collections.ia_homelab.llamafactory.tests.support.service_lab import Service
from ia_homelab_core.errors import InputError
from ia_homelab_service.http.access import Access, Token
from ia_homelab_service.http.sign_in_codes import LIFETIME, SignInCodes, create_link
from ia_homelab_service.settings import Settings

PAGE = {"Accept": "text/html"}


def token(name: str, *scopes: str) -> Token:
    """Return a token whose secret is its name."""
    return Token(name, frozenset(scopes), hashlib.sha256(name.encode()).hexdigest())


LOOKS, TRAINS = token("looks", "read"), token("trains", "read", "train")


@pytest.fixture
def guarded(start: t.Callable[..., Service], tmp_path: Path) -> Service:
    """A service with two tokens; the first one may only read."""
    tokens = tmp_path / "tokens.json"
    entries = [{"name": one.name, "scopes": sorted(one.scopes), "sha256": one.sha256} for one in (LOOKS, TRAINS)]
    tokens.write_text(json.dumps(entries))
    return start(tokens_file=str(tokens))


def link(service: Service, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the command that prints a link."""
    argv, environment = service.command()
    command = [*argv[:-1], "sign-in-link", *options, argv[-1]]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


def printed(service: Service, *options: str) -> str:
    """Return the link that the command prints."""
    done = link(service, *options)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_link_signs_in_once(guarded: Service) -> None:
    address = printed(guarded)
    assert address.startswith(f"{guarded.url}/login?code=")
    with guarded.client() as browser, guarded.client() as another:
        signed = browser.get(address, headers=PAGE)
        assert (signed.status_code, signed.headers["location"]) == (303, "/")
        cookie = next(value for value in signed.headers.get_list("set-cookie") if value.startswith("session="))
        assert "HttpOnly" in cookie and "samesite=lax" in cookie.lower()
        assert browser.get("/", headers=PAGE).status_code == 200
        # a cookie of the page is no authority elsewhere
        assert browser.get("/api/jobs").status_code == 401
        used = another.get(address, headers=PAGE)
        assert used.status_code == 401 and "session" not in another.cookies
        assert "has been used" in used.text
        assert another.get("/", headers=PAGE).status_code == 303
    code = address.rpartition("=")[2]
    found = [path for path in guarded.root.rglob("*") if path.is_file() and code.encode() in path.read_bytes()]
    assert found == [], "no file has the code itself"


def test_the_session_has_the_scopes_of_the_token_and_ends_with_it(guarded: Service) -> None:
    with guarded.client() as reader, guarded.client() as trainer:
        reader.get(printed(guarded, "--token", "looks"), headers=PAGE)
        trainer.get(printed(guarded), headers=PAGE)
        body = {"files": {"file": ("a.json", b"[]")}, "headers": {"Origin": guarded.url}}
        assert reader.post("/datasets", **body).status_code == 403
        assert trainer.post("/datasets", **body).status_code == 303
        Path(guarded.settings["tokens_file"]).write_text(
            json.dumps([{"name": "trains", "scopes": ["read", "train"], "sha256": TRAINS.sha256}])
        )
        guarded.kill()
        guarded.start()
        assert reader.get("/", headers=PAGE).status_code == 303
        assert trainer.get("/", headers=PAGE).status_code == 200


def test_no_other_user_reads_the_codes(guarded: Service) -> None:
    printed(guarded)
    folder = guarded.root / "data/service/sign-in"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    (entry,) = folder.iterdir()
    assert stat.S_IMODE(entry.stat().st_mode) == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: another user owns the data directory")
def test_root_writes_a_code_as_the_owner_of_the_data_directory(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:  # the directories of pytest can be entered by root alone
        os.chmod(folder, 0o755)
        tokens = tmp_path / "tokens.json"
        tokens.write_text(json.dumps([{"name": "trains", "scopes": ["read", "train"], "sha256": TRAINS.sha256}]))
        service = Service(Path(folder), {"tokens_file": str(tokens)})
        (service.root / "data/service").mkdir(parents=True, exist_ok=True)
        subprocess.run(["chown", "-R", "65534:65534", str(service.root / "data")], check=True)
        printed(service)
        (entry,) = (service.root / "data/service/sign-in").iterdir()
        assert (entry.stat().st_uid, entry.stat().st_gid) == (65534, 65534)
        # a link that the owner plants leads root nowhere
        entry.unlink()
        entry.parent.rmdir()
        entry.parent.symlink_to(tmp_path)
        assert link(service).returncode == 2
        assert sorted(path.name for path in tmp_path.iterdir()) == ["tokens.json"]


def test_the_command_says_why_there_is_no_link(guarded: Service, start: t.Callable[..., Service]) -> None:
    unknown = link(guarded, "--token", "nobody")
    assert unknown.returncode == 2 and "There are: looks, trains." in unknown.stderr
    without = link(start("open", run=False))
    assert without.returncode == 2 and "no_token" in without.stderr
    assert link(guarded, "--for", "me").returncode == 2


def test_a_link_expires_after_five_minutes(tmp_path: Path) -> None:
    now = time.time()
    settings = Settings(data_dir=str(tmp_path))
    code = SignInCodes(settings, lambda: now).create(TRAINS)
    assert LIFETIME == 300
    assert SignInCodes(settings, lambda: now + 299).redeem(code) == TRAINS.sha256
    code = SignInCodes(settings, lambda: now).create(TRAINS)
    assert SignInCodes(settings, lambda: now + 300).redeem(code) is None
    # what has expired is removed with the next code
    SignInCodes(settings, lambda: now).create(TRAINS)
    SignInCodes(settings, lambda: now + 301).create(LOOKS)
    assert len(list((tmp_path / "service/sign-in").iterdir())) == 1


@pytest.mark.parametrize("code", ["", "guessed", "../../../etc/passwd", "é", "a" * 4000])
def test_an_invalid_code_is_refused(guarded: Service, code: str) -> None:
    printed(guarded)
    with guarded.client() as browser:
        reply = browser.get("/login", params={"code": code}, headers=PAGE)
        assert reply.status_code == (401 if code else 200)
        assert "session" not in browser.cookies


def test_one_of_many_redeems_a_code(tmp_path: Path) -> None:
    codes = SignInCodes(Settings(data_dir=str(tmp_path)))
    for _attempt in range(20):
        code = codes.create(TRAINS)
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            results = list(pool.map(codes.redeem, [code] * 8))
        assert sorted(filter(None, results)) == [TRAINS.sha256]


@pytest.mark.parametrize(
    ("settings", "address"),
    [
        ({}, "http://127.0.0.1:8000"),
        ({"host": "::1", "port": 9}, "http://127.0.0.1:9"),
        ({"host": "0.0.0.0", "allowed_hosts": ["pc-ia", "pc-ia.lan"]}, "http://pc-ia:8000"),
        ({"host": "192.0.2.1"}, "http://192.0.2.1:8000"),
        ({"host": "2001:db8::1"}, "http://[2001:db8::1]:8000"),
    ],
)
def test_the_link_names_an_address_that_answers(tmp_path: Path, settings: dict[str, t.Any], address: str) -> None:
    configuration = Settings(data_dir=str(tmp_path), **settings)
    assert create_link(configuration, Access([TRAINS])).startswith(f"{address}/login?code=")
    with pytest.raises(InputError):
        create_link(configuration, Access())


def test_a_code_that_is_redeemed_for_a_removed_token_signs_nobody_in(guarded: Service) -> None:
    address = printed(guarded, "--token", "looks")
    Path(guarded.settings["tokens_file"]).write_text(
        json.dumps([{"name": "trains", "scopes": ["train"], "sha256": TRAINS.sha256}])
    )
    guarded.kill()
    guarded.start()
    reply = httpx.get(address, headers=PAGE, trust_env=False)
    assert reply.status_code == 401 and "set-cookie" in reply.headers and "session=" not in reply.headers["set-cookie"]
