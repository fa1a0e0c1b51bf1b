# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings of the service: a JSON file that the role writes."""

from __future__ import annotations

import dataclasses
import ipaddress
import json
import os
import re
import typing as t
from pathlib import Path

import pydantic

from ia_homelab_core.errors import InputError
from ia_homelab_core.ollama.syntax import DEFAULT_URL
from ia_homelab_core.runs.spec import Toolchain

#: First parts of paths of the service, which ``root_path`` must not begin with: one could not be told from the other.
_OWN_PATHS = frozenset({"api", "v1", "mcp", "_nicegui", "_nicegui_ws", "login", "plan", "watch", "models", "datasets"})


class Settings(pydantic.BaseModel):
    """Settings of the service.

    :param data_dir: the data directory, the same as for the Ansible modules.
    :param toolchain: locations of the tools and settings of containers, as in the option of that name of the Ansible
        modules; takes precedence over the fields of the same names here.
    :param tokens_file: JSON list of tokens (see ``http.access``); empty only with ``no_token``.
    :param no_token: every user of this machine has full access without a token. Only on loopback.
    :param allow_remote_code: requests may give every argument of LLaMA-Factory in ``extra``, also those that run code,
        read and write files, or send data elsewhere.
    :param allowed_hosts: host names that clients may use, in addition to those of loopback.
    :param root_path: path below which a proxy serves the service (``/training``); empty for none.
    :param trusted_proxies: addresses and networks of the proxies that may forward requests of others.
    :param allowed_origins: origins of other sites whose pages may call the service (``https://homelab.lan``).
    :param max_body_bytes: largest body of a request that is neither an upload nor a chat.
    :param max_chat_bytes: largest body of a request for a model; images of a conversation are part of it.
    :param max_upload_bytes: largest upload.
    :param upload_quota_bytes: disk space for all uploads together.
    :param llamafactory_api_url: LLaMA-Factory's own API, for models that are not in Ollama; empty for none.
    :param event_streams: largest number of concurrent event streams.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    data_dir: str
    host: str = "127.0.0.1"
    port: int = pydantic.Field(default=8000, ge=0, le=65535)
    llamafactory_venv: str = ""
    converter_venv: str = ""
    llama_cpp_dir: str = ""
    ollama_url: str = DEFAULT_URL
    token_file: str = ""
    accelerator: t.Literal["auto", "cuda", "cpu"] = "auto"
    toolchain: dict[str, t.Any] = {}
    tokens_file: str = ""
    no_token: bool = False
    allow_remote_code: bool = False
    allowed_hosts: tuple[str, ...] = ()
    root_path: str = ""
    trusted_proxies: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    max_body_bytes: int = pydantic.Field(default=1024 * 1024, ge=1024)
    max_chat_bytes: int = pydantic.Field(default=32 * 1024 * 1024, ge=1024)
    max_upload_bytes: int = pydantic.Field(default=512 * 1024 * 1024, ge=1024)
    upload_quota_bytes: int = pydantic.Field(default=2 * 1024 * 1024 * 1024, ge=1024)
    llamafactory_api_url: str = ""
    event_streams: int = pydantic.Field(default=1000, ge=1)

    @pydantic.field_validator("toolchain")
    @classmethod
    def _known(cls, value: dict[str, t.Any]) -> dict[str, t.Any]:
        unknown = sorted(set(value) - {field.name for field in dataclasses.fields(Toolchain)})
        if unknown:
            raise ValueError(f"there is no {', '.join(unknown)}")
        return value

    @pydantic.field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for one in value:
            ipaddress.ip_network(one)  # raises ValueError, which names it
        return value

    @pydantic.field_validator("root_path")
    @classmethod
    def _path(cls, value: str) -> str:
        path = value.rstrip("/")
        if not re.fullmatch(r"(/[A-Za-z0-9._~-]+)*", path) or {".", ".."} & set(path.split("/")):
            raise ValueError(f"{value!r} is no path such as /training")
        if path.partition("/")[2].partition("/")[0] in _OWN_PATHS:
            raise ValueError(f"{value!r} begins like the paths of the service itself")
        return path

    @property
    def url(self) -> str:
        """The address to give to a user: a name of this machine where others reach it, else loopback.

        A proxy that serves the service below ``root_path`` has an address of its own, which is not known here.
        """
        host = "127.0.0.1" if self.on_loopback else self.host
        if host in ("0.0.0.0", "::"):  # every address of this machine
            host = next(iter(self.allowed_hosts), "127.0.0.1")
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def tools(self) -> Toolchain:
        """The locations of the tools."""
        own = ("llamafactory_venv", "converter_venv", "llama_cpp_dir", "ollama_url", "token_file")
        overrides = {name: value for name, value in self.toolchain.items() if value}
        return Toolchain(**{**{name: getattr(self, name) for name in own}, **overrides})

    @property
    def on_loopback(self) -> bool:
        """Whether only this machine can reach the service."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def path(self, *parts: str) -> str:
        """Return a path in the directory of the service below the data directory."""
        return os.path.join(self.data_dir, "service", *parts)


def load(path: str | Path) -> Settings:
    """Load settings from a file.

    :raises InputError: with every invalid setting.
    """
    try:
        return Settings.model_validate(json.loads(Path(path).read_text(encoding="utf-8")))
    except OSError as error:
        raise InputError("errors.unreadable", path=path, reason=error.strerror) from error
    except ValueError as error:
        if not isinstance(error, pydantic.ValidationError):
            raise InputError("service.no_json", path=path, reason=error) from error
        problems = [f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()]
        raise InputError("service.settings_invalid", path=path, problems=problems) from error
