# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Codes in the source of the service and texts in its catalogues agree, and responses have codes and languages."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from ansible_collections.ia_homelab.llamafactory.tests.support.message_sites import (
    Site,
    names_of,
    sites,
    strings,
    texts_without_code,
)
from ansible_collections.ia_homelab.llamafactory.tests.support.service_lab import Service
from ia_homelab_core.messages import catalogue
from ia_homelab_core.messages.text import Text
from ia_homelab_service.messages import english, french
from ia_homelab_service.messages.negotiation import preferred_language

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "service" / "src" / "ia_homelab_service"
SOURCES = sorted(path for path in SOURCE.rglob("*.py") if path.parent != SOURCE / "messages")


def texts_of(texts: catalogue.Texts) -> dict[str, Text]:
    return {code: Text(text) if isinstance(text, str) else text for code, text in texts.items()}


OWN, FRENCH = texts_of(english.TEXTS), texts_of(french.TEXTS)
ENGLISH = {**catalogue.texts("en"), **OWN}


@pytest.mark.parametrize("site", list(sites(SOURCES, ENGLISH, ROOT)), ids=lambda site: f"{site.place} {site.code}")
def test_a_site_passes_what_its_text_names(site: Site) -> None:
    assert site.code in ENGLISH, f"{site.place}: there is no text for {site.code}"
    if site.parameters is not None:
        assert site.parameters == names_of(*ENGLISH[site.code])


def test_every_error_has_a_code() -> None:
    assert not list(texts_without_code(SOURCES, ROOT))


def test_every_text_is_used_and_every_french_one_has_the_same_parameters() -> None:
    assert not sorted(set(OWN) - strings(SOURCES))
    assert not sorted(set(FRENCH) - set(OWN))
    for code, text in FRENCH.items():
        assert names_of(*text) == names_of(*OWN[code]), code
    assert all(code.startswith("service.") for code in OWN)


def test_an_error_has_a_code_and_its_texts_are_in_the_language_of_the_client(idle: Service) -> None:
    url, body = f"{idle.url}/api/train", {"model_name": "qwen2.5:0.5b", "dataset": "none", "learning_rat": 1}
    default = httpx.post(url, json=body)
    french_reply = httpx.post(url, json=body, headers={"Accept-Language": "fr-FR, en;q=0.5"})
    problem, translated = default.json(), french_reply.json()
    assert (default.headers["content-language"], french_reply.headers["content-language"]) == ("en", "fr")
    assert problem["code"] == translated["code"] == "service.wrong_fields"
    assert problem["parameters"]["fields"] == ["learning_rat"]
    (error,), (french_error,) = problem["errors"], translated["errors"]
    assert error["code"] == french_error["code"] == "training.option_unknown"
    assert error["message"] == "There is no option 'learning_rat' of a fine-tune."
    assert french_error["message"] == "Il n'y a pas d'option « learning_rat » d'un affinage."
    assert french_error["hint"] == "Vouliez-vous dire learning_rate ?"


def test_a_missing_job_is_reported_in_the_language_of_the_client(idle: Service) -> None:
    reply = httpx.get(f"{idle.url}/api/status/nothing-1234", headers={"Accept-Language": "fr"})
    assert reply.status_code == 404 and reply.json()["code"] == "service.job_unknown_suggested"
    assert reply.json()["detail"] == "Il n'y a pas d'exécution « nothing-1234 »."


@pytest.mark.parametrize(
    ("path", "headers", "status", "code", "title", "detail"),
    [
        (
            "/api/jobs",
            {"Host": "elsewhere.example"},
            421,
            "service.host_unknown_without_tokens",
            "Mauvais hôte",
            "Ce service n'est pas connu sous ce nom.",
        ),
        (
            "/api/jobs",
            {"X-Forwarded-For": "192.0.2.1"},
            403,
            "service.forwarded_without_tokens",
            "Non autorisé",
            "La requête a été transmise par un proxy (x-forwarded-for).",
        ),
        ("/nothing", {}, 404, "service.path_unknown", "Introuvable", "Il n'y a rien à l'adresse /nothing."),
    ],
)
def test_what_no_route_answers_has_a_code_and_a_language(
    idle: Service, path: str, headers: dict[str, str], status: int, code: str, title: str, detail: str
) -> None:
    reply = httpx.get(f"{idle.url}{path}", headers={**headers, "Accept-Language": "fr"})
    problem = reply.json()
    assert (reply.status_code, reply.headers["content-language"]) == (status, "fr")
    assert (problem["code"], problem["title"], problem["detail"]) == (code, title, detail)
    assert httpx.get(f"{idle.url}{path}", headers=headers).json()["code"] == code


@pytest.mark.parametrize(
    ("content", "media_type", "status", "code"),
    [
        (b"{", "application/json", 400, "service.body_no_json"),
        (b"", "application/json", 400, "service.body_no_json"),
        (b'"\\ud800"', "application/json", 400, "service.body_half_character"),
        (b"{}", "text/plain", 415, "service.body_not_sent_as_json"),
    ],
)
def test_a_body_that_cannot_be_read_has_a_code(
    idle: Service, content: bytes, media_type: str, status: int, code: str
) -> None:
    reply = httpx.post(f"{idle.url}/api/train", content=content, headers={"Content-Type": media_type})
    assert (reply.status_code, reply.json()["code"]) == (status, code)


@pytest.mark.parametrize(
    ("accept", "language"),
    [
        (None, "en"),
        ("fr", "fr"),
        ("de, fr-CA;q=0.8, en;q=0.3", "fr"),
        ("en, fr;q=0.9", "en"),
        ("de", "en"),
        ("fr;q=x", "en"),
    ],
)
def test_the_preferred_language_is_used(accept: str | None, language: str) -> None:
    assert preferred_language(accept) == language
