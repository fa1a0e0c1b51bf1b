# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page without a browser: signing in, forgery, headers, languages, uploads."""

from __future__ import annotations

import hashlib
import json
import re
import string
import typing as t
from pathlib import Path

import httpx
import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts import kinds
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.base_models import catalogue
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.estimates import fit
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.training import hyperparameters
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.training.known_names import QUANTIZATIONS
from ansible_collections.ia_homelab.llamafactory.tests.support.service_lab import PROMPTS, Service
from ia_homelab_core.errors import InputError
from ia_homelab_core.messages.message import Message
from ia_homelab_service.application import finetune_request, schemas
from ia_homelab_service.web import components, finetune_form, watch
from ia_homelab_service.web.i18n import en, fr, language

PAGE = {"Accept": "text/html"}


@pytest.fixture
def guarded(start: t.Callable[..., Service], tmp_path: Path) -> Service:
    """A service with two tokens: ``looks`` has the scope read, ``trains`` has all."""
    tokens = tmp_path / "tokens.json"
    known = {"looks": ["read"], "trains": ["read", "train"]}
    entries = [
        {"name": name, "scopes": scopes, "sha256": hashlib.sha256(name.encode()).hexdigest()}
        for name, scopes in known.items()
    ]
    tokens.write_text(json.dumps(entries))
    return start(tokens_file=str(tokens))


def form_token(text: str) -> str:
    """Return the form token of a view."""
    found = re.search(r"form_token\W+(?:value\W+)?([0-9a-f]{64})", text)
    assert found, text[:2000]
    return found.group(1)


def sign_in(client: httpx.Client, token: str) -> httpx.Response:
    """Sign in like a browser."""
    given = form_token(client.get("/login", headers=PAGE).text)
    origin = str(client.base_url).rstrip("/")
    return client.post("/login", data={"form_token": given, "token": token}, headers={"Origin": origin})


def test_nothing_is_shown_without_a_session(guarded: Service) -> None:
    with guarded.client() as client:
        for path in ("/", "/plan", "/watch", "/watch/x", "/models"):
            reply = client.get(path, headers=PAGE)
            assert (reply.status_code, reply.headers["location"]) == (303, "/login"), path
        assert client.get("/login", headers=PAGE).status_code == 200
        wrong = sign_in(client, "guessed")
        assert wrong.status_code == 401
        assert "session" not in client.cookies
        assert "guessed" not in wrong.text


def test_signing_in_and_out(guarded: Service) -> None:
    with guarded.client() as client:
        signed = sign_in(client, "trains")
        assert (signed.status_code, signed.headers["location"]) == (303, "/")
        cookie = next(value for value in signed.headers.get_list("set-cookie") if value.startswith("session="))
        assert "HttpOnly" in cookie and "SameSite=lax" in cookie.replace("Lax", "lax")
        view = client.get("/", headers=PAGE)
        assert view.status_code == 200
        # the cookie is valid for the page, not for paths that scripts of other sites could use
        assert client.get("/api/jobs").status_code == 401
        assert client.post("/api/train", json={}, headers={"Origin": guarded.url}).status_code == 401
        kept = client.cookies["session"]
        forged = f"{int(kept.split('.')[0]) + 1}.{kept.split('.', 1)[1]}"
        for bad in (forged, kept[:-1] + ("0" if kept[-1] != "0" else "1"), "..", "1.2.3.4", "é"):
            stranger = httpx.Headers({**PAGE, "Cookie": f"session={bad}".encode()})
            assert httpx.get(f"{guarded.url}/", headers=stranger, trust_env=False).status_code == 303, bad
        guarded.kill()
        guarded.start()  # a restart ends no session
        assert client.get("/watch", headers=PAGE).status_code == 200
        given = form_token(client.get("/watch", headers=PAGE).text)
        out = client.post("/logout", data={"form_token": given}, headers={"Origin": guarded.url})
        assert (out.status_code, out.headers["location"]) == (303, "/login")
        assert client.get("/", headers=PAGE).status_code == 303


def test_a_form_of_another_site_does_nothing(guarded: Service) -> None:
    with guarded.client() as client:
        sign_in(client, "trains")
        data = {"form_token": "0" * 64, "name": "stolen", "do": "publish"}
        with open(PROMPTS, "rb") as stream:
            files = {"file": ("rows.json", stream)}
            assert (
                client.post("/datasets", data=data, files=files, headers={"Origin": "http://evil"}).status_code == 403
            )
        with open(PROMPTS, "rb") as stream:
            files = {"file": ("rows.json", stream)}
            client.post("/datasets", data=data, files=files, headers={"Origin": guarded.url})
        with guarded.client("trains") as api:
            assert api.get("/api/datasets").json()["datasets"] == []
        # without any token
        assert client.post("/datasets", data=data).status_code == 403
        # a websocket of another site is refused before it is open
        upgrade = {
            "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Origin": "http://evil",
        }  # fmt: skip
        path = "/_nicegui_ws/socket.io/?EIO=4&transport=websocket"
        assert client.get(path, headers=upgrade).status_code == 403


def test_the_scope_read_changes_nothing(guarded: Service) -> None:
    with guarded.client() as client:
        sign_in(client, "looks")
        view = client.get("/", headers=PAGE)
        assert view.status_code == 200
        token = form_token(view.text)
        with open(PROMPTS, "rb") as stream:
            reply = client.post(
                "/datasets", data={"form_token": token, "name": "mine", "do": "publish"},
                files={"file": ("rows.json", stream)}, headers={"Origin": guarded.url},
            )  # fmt: skip
        assert reply.status_code == 403
        out = client.post("/logout", data={"form_token": token}, headers={"Origin": guarded.url})
        assert out.headers["location"] == "/login"


def test_uploads_are_checked_before_they_are_published(service: Service, tmp_path: Path) -> None:
    bad = tmp_path / "bad.json"
    bad.write_text(json.dumps([{"instruction": "a", "output": "b"}, {"instruction": "c", "output": 7}]))

    def send(client: httpx.Client, path: Path, do: str) -> str:
        token = form_token(client.get("/", headers=PAGE).text)
        with open(path, "rb") as stream:
            data = {"form_token": token, "name": "homelab", "do": do}
            reply = client.post("/datasets", data=data, files={"file": (path.name, stream)})
        assert reply.status_code == 303
        return client.get(reply.headers["location"], headers=PAGE).text

    with service.client() as client:
        refused = send(client, bad, "publish")
        assert "bad.json" in refused and "output" in refused
        assert client.get("/api/datasets").json()["datasets"] == []
        send(client, PROMPTS, "check")
        assert client.get("/api/datasets").json()["datasets"] == []
        send(client, PROMPTS, "publish")
        assert [one["rows"] for one in client.get("/api/datasets").json()["datasets"]] == [50]


def test_security_headers(idle: Service) -> None:
    with idle.client() as client:
        view = client.get("/", headers=PAGE)
        policy = view.headers["content-security-policy"]
        assert "default-src 'self'" in policy and "frame-ancestors 'none'" in policy
        assert view.headers["x-content-type-options"] == "nosniff"
        # the API has its own responses for unknown paths
        assert client.get("/api/nothing").headers["content-type"] == "application/problem+json"
        assert client.get("/api/train").status_code == 405
        assert client.get("/nothing").status_code == 404


def test_languages(idle: Service) -> None:
    with idle.client() as client:

        def lang(**headers: str) -> str:
            found = re.search(r'<html lang="([a-zA-Z-]+)"', client.get("/", headers={**PAGE, **headers}).text)
            assert found
            return found.group(1)

        assert lang() == "en-US"
        assert lang(**{"Accept-Language": "fr-CA,fr;q=0.9,en;q=0.8"}) == "fr"
        assert lang(**{"Accept-Language": "de,en;q=0.5"}) == "en-US"
        chosen = client.get("/language/fr?back=/watch")
        assert (chosen.status_code, chosen.headers["location"]) == (303, "/watch")
        assert lang(**{"Accept-Language": "en"}) == "fr"
        for elsewhere in ("//evil.example", "https://evil.example", "/\\evil.example"):
            assert client.get("/language/en", params={"back": elsewhere}).headers["location"] == "/"


@pytest.mark.parametrize(
    ("chosen", "accept", "expected"),
    [
        (None, None, "en"), (None, "fr", "fr"), (None, "en;q=0.1, fr;q=0.2", "fr"), (None, "fr;q=0, en", "en"),
        ("fr", "en", "fr"), ("xx", "fr-FR", "fr"), (None, "fr;q=oops,en;q=0.1", "en"), (None, ",;,", "en"),
    ],
)  # fmt: skip
def test_choice_of_the_language(chosen: str | None, accept: str | None, expected: str) -> None:
    assert language.choose_language(chosen, accept) == expected


def test_both_languages_have_the_same_texts() -> None:
    """The same keys, and the same placeholders."""

    def values(text: str) -> set[str]:
        try:
            return {name for _text, name, _format, _conversion in string.Formatter().parse(text) if name}
        except ValueError:
            return set()

    assert list(en.TEXTS) == list(fr.TEXTS)
    for key, english in en.TEXTS.items():
        if not key.startswith("hint."):
            assert values(english) == values(fr.TEXTS[key]), key


def test_everything_on_the_form_has_texts() -> None:
    """Every option, choice and step of the core has texts in both languages, and every state has its colour."""
    schema = finetune_request.form_schema()["properties"]
    shown = {name: entry for name, entry in schema.items() if name not in finetune_form.FIXED_VALUES}
    # names that are the same in every language: number formats, formulas
    names = {*QUANTIZATIONS, *schema["pref_loss"]["enum"], "4", "8", "bf16", "fp16", "fp32"}
    keys = {f"{part}.{name}" for name in shown for part in ("field", "hint")}
    for entry in shown.values():
        for choice in entry.get("enum") or entry.get("items", {}).get("enum") or ():
            keys.update([] if str(choice) in names else [f"choice.{choice}"])
    keys.update(f"step.{kind}" for kind in kinds.KINDS)
    for words in language.TEXTS.values():
        assert keys - set(words) == set()
    assert set(watch.STATUS_CHIPS) == set(t.get_args(schemas.Status))
    # no text is left for removed ones
    known = {key for key in fr.TEXTS if key.startswith(("field.", "hint.", "choice.", "step."))}
    assert known - keys == set()


def test_reasons_of_the_core_are_translated() -> None:
    """The core produces each reason, so one without a French text fails here."""
    shape = catalogue.Shape("qwen2", 28, 3584, 18944, 28, 4, 128, 152064, 7_615_616_512, False)
    for gpu in (None, 8 << 30, 12 << 30, 24 << 30, 80 << 30):
        for known in (shape, None):
            for rows, rate in ((50, 2e-4), (5000, 1e-5)):
                values = {**hyperparameters.normalise({}).values, "learning_rate": rate}
                reason = fit.choose_method(known, values, gpu, rows)[1]
                assert reason.language("fr") == "fr" and reason.render("fr") != reason.render(), reason
    assert Message("artifacts.not_made").render("fr").message == "pas encore produit"
    decided = Message("estimates.decided", reason=Message("artifacts.pruned"), decided_at="2026-01-31T10:00:00Z")
    assert decided.render("fr").message.endswith("(décidé le 2026-01-31)")


def test_a_message_without_a_french_text_is_marked_as_english() -> None:
    """What an older version stored, or another program wrote, for example."""
    french = language.Language("fr")
    assert components.message_html(french, Message.from_stored("a < b")) == '<span lang="en">a &lt; b</span>'
    assert components.message_html(french, Message("artifacts.not_made")) == "pas encore produit"
    error = InputError("training.fp16_without_gpu")
    assert components.problem_html(french, error) == (
        "<p>fp16 demande un GPU.</p><p>Retirez precision, ou déclarez fp32.</p>"
    )


def test_numbers_are_formatted_by_language() -> None:
    english, french = language.Language("en"), language.Language("fr")
    assert (english.size(4.7e9), french.size(4.7e9)) == ("4.7 GB", "4,7 Go")
    assert (english.memory(7.5 * 2**30), french.memory(7.5 * 2**30)) == ("7.5 GiB", "7,5 Gio")
    assert (english.number(1234567), french.number(1234567)) == ("1,234,567", "1\u202f234\u202f567")
    assert (english.duration(3661), french.duration(90061)) == ("1 h 1 min", "1 j 1 h")
    assert english.time("2026-01-31T12:00:00Z") == "2026-01-31 12:00 UTC"
    assert french.time("no time") == "no time"


def test_name_of_a_run_stands_once_beside_its_id() -> None:
    def text(shown: str) -> str:
        return re.sub(r"<[^>]+>", "", shown)

    assert text(components.run_html("homelab", "homelab-41a4010045ad")) == "homelab-41a4010045ad"
    assert text(components.run_html("a<b", "a<b-41a4010045ad")) == "a&lt;b-41a4010045ad"
    assert text(components.run_html("homelab", "41a4010045ad")) == "homelab 41a4010045ad"
    assert components.without_name("homelab:41a4-q8_0", "homelab", ":") == "41a4-q8_0"
    assert components.without_name("other:41a4-q8_0", "homelab", ":") == "other:41a4-q8_0"
