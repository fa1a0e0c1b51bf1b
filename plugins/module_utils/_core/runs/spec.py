# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run declares of a step, and the tools it runs with, as they stand in the store."""

from __future__ import annotations

import dataclasses
import os
import typing as t

from ..errors import NotReadyError


@dataclasses.dataclass(frozen=True)
class StepSpec:
    """One declared step of a run, as it stands in the store.

    :param kind: one of :data:`artifacts.layout.KINDS`.
    :param fingerprint: names the artifact.
    :param settings: what the fingerprint was made from, defaults left out.
    :param upstream: fingerprints of the steps it is made from, by kind.
    :param options: what the step needs to run and does not change the result (paths, names to show, devices,
        all settings with their defaults filled in under ``resolved``).
    """

    kind: str
    fingerprint: str
    settings: dict[str, t.Any]
    upstream: dict[str, str]
    options: dict[str, t.Any] = dataclasses.field(default_factory=dict)

    def as_dict(self) -> dict[str, t.Any]:
        """Plain values for the store."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, value: t.Mapping[str, t.Any]) -> StepSpec:
        """The spec that :meth:`as_dict` wrote."""
        return cls(
            kind=value["kind"],
            fingerprint=value["fingerprint"],
            settings=dict(value["settings"]),
            upstream=dict(value["upstream"]),
            options=dict(value.get("options") or {}),
        )


@dataclasses.dataclass(frozen=True)
class Toolchain:
    """Where the tools are on this host. Recorded in receipts, never in a fingerprint.

    :param llamafactory_venv: virtual environment with LLaMA-Factory.
    :param converter_venv: virtual environment for llama.cpp's converter.
    :param llama_cpp_dir: directory with ``convert_hf_to_gguf.py``, and ``bin/llama-quantize``, ``bin/llama-tokenize``.
    :param ollama_url: base URL of the Ollama server.
    :param token_file: file with the Hugging Face token (readable by the job user alone), or empty.
    :param environment: more environment variables for every command (no secrets).
    :param llamafactory_image: image that holds LLaMA-Factory, to train and merge in; empty: no container.
    :param llama_cpp_image: image that holds llama.cpp and its converter, to convert and quantize in.
    :param image_path: directories, with colons between, to find the tools in inside of the images, before those of
        their own ``PATH``.
    :param image_llama_cpp_dir: as ``llama_cpp_dir``, inside of the image; or with the programs beside the script, as in
        llama.cpp's own image.
    :param ollama_while_training: what Ollama does while a training has the GPU: ``unload`` (its models are taken out of
        memory before), ``stop``, ``cpu`` (it goes on without a GPU) or ``share`` (it keeps them).
    :param docker_host: the engine's address; empty for the SDK's own default.
    :param gpus: what a container with a GPU gets: ``all``, indexes or UUIDs with commas between, or CDI names
        (``nvidia.com/gpu=0``).
    :param memory_limit: most memory a container may use (``24g``), without swap; empty for no limit.
    :param cpus: most processors a container may use; 0 for no limit.
    :param shm_size: size of ``/dev/shm`` in a container; the engine's own 64 MB are too little for data loaders.
    :param container_user: ``UID:GID`` in containers; by default whoever runs the job, or, when that is root, the owner
        of the data directory.
    :param mounts: more directories of the host that containers see at their own path; ``:ro`` at the end for reading.
    """

    llamafactory_venv: str = ""
    converter_venv: str = ""
    llama_cpp_dir: str = ""
    ollama_url: str = "http://127.0.0.1:11434"
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

    def __post_init__(self) -> None:
        object.__setattr__(self, "mounts", tuple(self.mounts))  # as the store gives it back, it is a list

    @property
    def runner(self) -> str:
        """Name of the runner that suits these tools."""
        return "docker" if self.llamafactory_image or self.llama_cpp_image else "process"

    def program(self, *parts: str, image: str = "") -> str:
        """A tool's path.

        :param image: the image it shall be found in: then only its name, for the ``PATH`` in there.
        :raises NotReadyError: when it is not there.
        """
        if image:
            return "python3" if parts[-1] == "python" else parts[-1]
        path = os.path.join(*parts)
        if not parts[0] or not os.path.exists(path):
            raise NotReadyError(
                f"{parts[-1]} was not found at {path}.",
                "Install the tools with the role ia_homelab.llamafactory.llamafactory, or say where they are.",
            )
        return path
