# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The declaration of a step and the tools it runs with, as stored."""

from __future__ import annotations

import dataclasses
import os
import typing as t

from ..errors import NotReadyError
from ..ollama.syntax import DEFAULT_URL, with_credentials


@dataclasses.dataclass(frozen=True)
class StepSpec:
    """One declared step of a run, as stored.

    :param kind: one of :data:`artifacts.kinds.KINDS`.
    :param fingerprint: fingerprint of the artifact.
    :param settings: inputs of the fingerprint, without defaults.
    :param upstream: fingerprints of the input artifacts, by kind.
    :param options: values that the step needs to run and that do not change the result (paths, display names, devices,
        and under ``resolved`` all settings with their defaults filled in).
    """

    kind: str
    fingerprint: str
    settings: dict[str, t.Any]
    upstream: dict[str, str]
    options: dict[str, t.Any] = dataclasses.field(default_factory=dict)

    def as_dict(self) -> dict[str, t.Any]:
        """Return plain values for the store."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, value: t.Mapping[str, t.Any]) -> StepSpec:
        """Create the spec from the result of :meth:`as_dict`."""
        return cls(
            kind=value["kind"],
            fingerprint=value["fingerprint"],
            settings=dict(value["settings"]),
            upstream=dict(value["upstream"]),
            options=dict(value.get("options") or {}),
        )


@dataclasses.dataclass(frozen=True)
class Toolchain:
    """The locations and limits of the tools on this host. Recorded in receipts, never in a fingerprint.

    :param llamafactory_venv: virtual environment with LLaMA-Factory.
    :param converter_venv: virtual environment for llama.cpp's converter.
    :param llama_cpp_dir: directory with ``convert_hf_to_gguf.py``, and ``bin/llama-quantize``, ``bin/llama-tokenize``.
    :param ollama_url: base URL of the Ollama server; in a stored run without user and password.
    :param ollama_password_file: file with the user and password of this server, as in a URL; empty if it has none, or
        if they are in ``ollama_url``.
    :param token_file: file with the Hugging Face token (readable by the job user alone), or empty.
    :param environment: additional environment variables for every command (no secrets).
    :param llamafactory_image: image with LLaMA-Factory, for training and merging; empty for no container.
    :param llama_cpp_image: image with llama.cpp and its converter, for converting and quantizing.
    :param image_path: directories of the tools inside the images, separated by colons; searched before the ``PATH``
        of the image.
    :param image_llama_cpp_dir: like ``llama_cpp_dir``, but inside the image; or a directory with the programs beside
        the script, as in llama.cpp's own image.
    :param ollama_while_training: the policy for Ollama while a training uses the GPU: ``unload`` (it unloads its models
        before the training), ``stop``, ``cpu`` (it runs without a GPU) or ``share`` (it keeps its models).
    :param docker_host: address of the Docker engine; empty for the default of the SDK.
    :param gpus: GPUs for a container: ``all``, indexes or UUIDs separated by commas, or CDI names
        (``nvidia.com/gpu=0``).
    :param memory_limit: maximum memory of a container (``24g``), without swap; empty for no limit.
    :param cpus: maximum number of processors of a container; 0 for no limit.
    :param shm_size: size of ``/dev/shm`` in a container; the engine's default of 64 MB is too small for data loaders.
    :param container_user: ``UID:GID`` in containers; by default the user that runs the job, the owner of the data
        directory.
    :param mounts: additional directories of the host, mounted in containers at the same path; ``:ro`` at the end for
        read-only.
    :param host_runner: name of the runner for commands on the host.
    :param container_runner: name of the runner for commands in containers.
    """

    llamafactory_venv: str = ""
    converter_venv: str = ""
    llama_cpp_dir: str = ""
    ollama_url: str = DEFAULT_URL
    token_file: str = ""
    environment: dict[str, str] = dataclasses.field(default_factory=dict)
    llamafactory_image: str = ""
    llama_cpp_image: str = ""
    image_path: str = ""
    image_llama_cpp_dir: str = "/app"
    ollama_while_training: str = "unload"
    docker_host: str = ""
    gpus: str = "all"
    memory_limit: str = ""
    cpus: float = 0.0
    shm_size: str = "8g"
    container_user: str = ""
    mounts: tuple[str, ...] = ()
    host_runner: str = "process"
    container_runner: str = "docker"
    ollama_password_file: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "mounts", tuple(self.mounts))  # JSON from the store contains a list

    @property
    def ollama_address(self) -> str:
        """Base URL of the Ollama server with user and password, for :class:`ollama.client.Ollama`.

        Without them if their file cannot be read: the server refuses the request then, and the error says so.
        """
        if not self.ollama_password_file:
            return self.ollama_url
        try:
            with open(self.ollama_password_file, encoding="utf-8") as stream:
                return with_credentials(self.ollama_url, stream.read().strip())
        except (OSError, ValueError):
            return self.ollama_url

    @property
    def runner(self) -> str:
        """Name of the runner for these tools."""
        return self.runner_for(self.llamafactory_image or self.llama_cpp_image)

    def runner_for(self, image: str) -> str:
        """Return the name of the runner for a command.

        :param image: image that contains its tools; empty for a command on the host.
        """
        return self.container_runner if image else self.host_runner

    def program(self, *parts: str, image: str = "") -> str:
        """Return the path of a tool.

        :param parts: components of the path.
        :param image: the image that contains the tool: then only its name is returned, for the ``PATH`` of the image.
        :raises NotReadyError: when the file does not exist.
        """
        if image:
            return "python3" if parts[-1] == "python" else parts[-1]
        path = os.path.join(*parts)
        if not parts[0] or not os.path.exists(path):
            raise NotReadyError("runs.tool_missing", tool=parts[-1], path=path)
        return path
