# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Client of a Hugging Face hub, based on the standard library: repository metadata and file content.

The address is ``HF_ENDPOINT`` or https://huggingface.co; proxies and certificates come from the environment, as for
any other program. The hub identifies errors by the header ``X-Error-Code``
(source: ``huggingface_hub/utils/_http.py``, ``hf_raise_for_status``).

The token is sent in the ``Authorization`` header of requests to the hub itself and nowhere else: not to servers it
redirects to, not to a message, a log or an argument list.
"""

from __future__ import annotations

import contextlib
import http.client
import re
import socket
import ssl
import time
import typing as t
import urllib.error
import urllib.parse
import urllib.request

from ..errors import CoreError, InputError, NotReadyError, RemoteError
from ..json_text import parse_json
from ..messages.message import Message
from ..messages.suggestions import did_you_mean
from .names import nearest

ENDPOINT = "https://huggingface.co"

_TOKEN = re.compile(r"[\x21-\x7e]{1,1024}\Z")
_RETRY = (429, 500, 502, 503, 504)
_MAX_ANSWER = 64 * 1024 * 1024
_LONGEST_PAUSE = 60.0


class TransientError(RemoteError):
    """The hub did not answer or asked for a later retry: a retry may succeed."""


def read_token(path: str) -> str:
    """Read the token from a file; return an empty string if ``path`` is empty.

    :raises NotReadyError: if the file cannot be read.
    :raises InputError: if its content is not a token. The message does not show the content.
    """
    if not path:
        return ""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            token = stream.read(4096).strip()
    except OSError as error:
        raise NotReadyError("base_models.token_file_unreadable", path=path, reason=error.strerror) from None
    if not _TOKEN.match(token):
        raise InputError("base_models.token_file_invalid", path=path)
    return token


def endpoint_of(environment: t.Mapping[str, str]) -> str:
    """Return the address of the hub without a trailing slash."""
    return (environment.get("HF_ENDPOINT") or ENDPOINT).rstrip("/")


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects and drops the token when a redirect leads to another server."""

    def redirect_request(
        self, req: urllib.request.Request, fp: t.Any, code: int, msg: str, headers: t.Any, newurl: str
    ) -> urllib.request.Request | None:
        following = super().redirect_request(req, fp, 302 if code == 308 else code, msg, headers, newurl)
        if following is not None:
            old, new = urllib.parse.urlsplit(req.full_url), urllib.parse.urlsplit(newurl)
            if (old.scheme, old.netloc) != (new.scheme, new.netloc):
                following.remove_header("Authorization")
        return following

    http_error_308 = urllib.request.HTTPRedirectHandler.http_error_302


def _proxies(environment: t.Mapping[str, str]) -> dict[str, str]:
    proxies: dict[str, str] = {}
    for name in sorted(environment):  # capitals sort first, so that the common lower-case names take precedence
        if name.lower().endswith("_proxy") and environment[name]:
            proxies[name.lower()[: -len("_proxy")]] = environment[name]
    for scheme in ("http", "https"):
        if "all" in proxies:
            proxies.setdefault(scheme, proxies["all"])
    return proxies


class HubClient:
    """One hub, accessed as one user.

    :param environment: source of ``HF_ENDPOINT``, proxies and certificates.
    :param token: token of the user; empty for anonymous access.
    :param timeout: seconds to wait for a response, and between two chunks of its body.
    :param tries: number of attempts for a request if the hub does not answer.
    """

    def __init__(
        self,
        environment: t.Mapping[str, str],
        token: str = "",
        timeout: float = 30.0,
        tries: int = 3,
        sleep: t.Callable[[float], None] = time.sleep,
    ) -> None:
        self._token = token
        self._timeout = timeout
        self._tries = tries
        self._sleep = sleep
        parts = urllib.parse.urlsplit(endpoint_of(environment))
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
            raise InputError("base_models.endpoint_invalid")
        #: Address of the hub.
        self.endpoint = parts.geturl()
        proxies = _proxies(environment)
        if urllib.request.proxy_bypass_environment(parts.hostname, proxies):  # type: ignore[attr-defined]
            proxies = {}
        bundle = next((environment[name] for name in _BUNDLES if environment.get(name)), None)
        try:
            context = ssl.create_default_context(cafile=bundle)
        except (OSError, ssl.SSLError):
            raise NotReadyError("base_models.certificates_unreadable", path=bundle) from None
        handlers: list[urllib.request.BaseHandler] = [
            urllib.request.ProxyHandler(proxies),
            urllib.request.HTTPSHandler(context=context),
            _Redirects(),
        ]
        self._opener = urllib.request.build_opener(*handlers)

    def model_info(self, hub_id: str, revision: str) -> dict[str, t.Any]:
        """Return the metadata of a repository at a revision: ``id``, ``sha``, ``gated``, ``siblings`` with sizes.

        Source: ``GET /api/models/{id}/revision/{revision}?blobs=true`` (``HfApi.model_info``).

        :raises InputError: if there is no such repository or revision.
        :raises RemoteError: if the hub does not answer, or its answer is not valid.
        """
        path = f"/api/models/{_quote(hub_id)}/revision/{urllib.parse.quote(revision, safe='')}?blobs=true"
        raw = self._get(path, hub_id, revision)
        try:
            value = parse_json(raw.decode("utf-8"))
        except ValueError:
            value = None
        if not isinstance(value, dict) or not isinstance(value.get("siblings"), list):
            raise RemoteError("base_models.not_a_hub", endpoint=self.endpoint)
        return value

    def read(self, hub_id: str, commit: str, name: str) -> bytes | None:
        """Return the content of a small file; None if it does not exist."""
        try:
            return self._get(_file_path(hub_id, commit, name), hub_id, commit)
        except _NoSuchFile:
            return None

    def check_access(self, hub_id: str, commit: str, name: str) -> None:
        """Check that the files of a repository may be downloaded: the file list of a gated repository is public.

        :raises InputError: if access is denied, with a hint on how to get it.
        """
        with self._open(_file_path(hub_id, commit, name), hub_id, commit, method="HEAD"):
            pass

    def open_file(self, hub_id: str, commit: str, name: str, offset: int = 0) -> http.client.HTTPResponse:
        """Open a file at an offset; ``status`` is 206 if the hub honours the offset, 200 if it sends the full file.

        :raises TransientError: if the hub does not answer; there is no retry.
        """
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        return self._open(_file_path(hub_id, commit, name), hub_id, commit, headers=headers, tries=1)

    def _get(self, path: str, hub_id: str, revision: str) -> bytes:
        for attempt in range(self._tries):
            try:
                with self._open(path, hub_id, revision) as response:
                    raw = response.read(_MAX_ANSWER)
                    expected = response.headers.get("Content-Length")
                    if expected is None or len(raw) == int(expected):
                        return raw
            except (OSError, http.client.HTTPException):
                pass
            if attempt + 1 < self._tries:
                self._sleep(2.0**attempt)
        raise TransientError("base_models.hub_interrupted", endpoint=self.endpoint, tries=self._tries)

    def _open(
        self,
        path: str,
        hub_id: str,
        revision: str,
        method: str = "GET",
        headers: t.Mapping[str, str] | None = None,
        tries: int = 0,
    ) -> http.client.HTTPResponse:
        request = urllib.request.Request(self.endpoint + path, method=method, headers=dict(headers or {}))
        request.add_header("User-Agent", "ia_homelab.llamafactory")
        request.add_header("Accept-Encoding", "identity")
        if self._token:
            request.add_header("Authorization", f"Bearer {self._token}")
        last = (tries or self._tries) - 1
        for attempt in range(last + 1):
            pause = 2.0**attempt
            try:
                return t.cast(http.client.HTTPResponse, self._opener.open(request, timeout=self._timeout))
            except urllib.error.HTTPError as error:
                failure = self._http_error(error, hub_id, revision)
                if not isinstance(failure, TransientError) or attempt == last:
                    raise failure from None
                pause = max(pause, _seconds(error.headers.get("Retry-After")))
            except (OSError, http.client.HTTPException) as error:
                failure, retry = self._connection_error(error)
                if not retry or attempt == last:
                    raise failure from None
            self._sleep(min(pause, _LONGEST_PAUSE))
        raise AssertionError("not reached")

    def _connection_error(self, error: Exception) -> tuple[CoreError, bool]:
        """Return the error to raise when no response arrived, and whether a retry may help."""
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        if isinstance(reason, ssl.SSLCertVerificationError):
            why = reason.verify_message
            return TransientError("base_models.certificate_refused", endpoint=self.endpoint, reason=why), False
        if isinstance(reason, socket.gaierror):
            return TransientError("base_models.hub_name_unknown", endpoint=self.endpoint), False
        if isinstance(reason, ConnectionRefusedError):
            return TransientError("base_models.hub_refuses_connection", endpoint=self.endpoint), False
        why = self._clean(getattr(reason, "strerror", None) or str(reason) or type(reason).__name__)
        return TransientError("base_models.hub_unreachable", endpoint=self.endpoint, reason=why), True

    def _http_error(self, error: urllib.error.HTTPError, hub_id: str, revision: str) -> CoreError:
        """Translate a response with an error status."""
        code = error.headers.get("X-Error-Code") or ""
        message = self._clean(error.headers.get("X-Error-Message") or "")
        with contextlib.suppress(Exception):
            error.close()
        if code == "GatedRepo":
            return self._gated_error(hub_id)
        if error.code == 401 and "credentials" in message.lower():
            return InputError("base_models.token_refused", endpoint=self.endpoint, reason=message)
        if code == "RevisionNotFound":
            return InputError("base_models.revision_unknown", model=hub_id, revision=revision, endpoint=self.endpoint)
        if code == "EntryNotFound":
            return _NoSuchFile("base_models.file_unknown", model=hub_id, revision=revision)
        if code == "RepoNotFound" or error.code in (401, 404):
            candidates = [name for name in nearest(hub_id) if name.lower() != hub_id.lower()]
            return InputError(
                "base_models.model_not_on_hub",
                model=hub_id,
                endpoint=self.endpoint,
                suggestion=did_you_mean(candidates),
                about_token=None if self._token else Message("base_models.private_needs_token"),
            )
        if error.code in _RETRY:
            reason = message or error.reason
            return TransientError("base_models.hub_busy", endpoint=self.endpoint, status=error.code, reason=reason)
        return RemoteError(
            "base_models.hub_answered",
            endpoint=self.endpoint,
            status=error.code,
            reason=message or error.reason,
            model=hub_id,
        )

    def _gated_error(self, hub_id: str) -> CoreError:
        code = "base_models.access_not_granted" if self._token else "base_models.licence_not_accepted"
        return InputError(code, model=hub_id, endpoint=self.endpoint, details={"hub": hub_id, "gated": True})

    def _clean(self, text: str) -> str:
        shown = text.replace(self._token, "***") if self._token else text
        return shown.strip().rstrip(".")[:300]


class _NoSuchFile(InputError):
    """The repository has no file of this name."""


_BUNDLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


def _quote(hub_id: str) -> str:
    return urllib.parse.quote(hub_id, safe="/")


def _file_path(hub_id: str, commit: str, name: str) -> str:
    return f"/{_quote(hub_id)}/resolve/{urllib.parse.quote(commit, safe='')}/{urllib.parse.quote(name)}"


def _seconds(text: str | None) -> float:
    try:
        return float(text or 0)
    except ValueError:
        return 0.0
