# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one shape of a step.

A step is a class without state of its own; what it works on is the :class:`StepContext`.
The supervisor calls, in this order: ``command`` (prepares the work directory), the runner,
``progress`` (any time, by anyone), and ``finish`` once the command has ended well.
"""

from __future__ import annotations

import abc
import dataclasses
import os
import signal
import typing as t

from ._errors import NotReadyError
from ._layout import Layout
from ._node_link import Link
from ._progress import Progress


@dataclasses.dataclass(frozen=True)
class StepSpec:
    """One declared step of a run, as it stands in the store.

    :param kind: one of :data:`_layout.KINDS`.
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


@dataclasses.dataclass(frozen=True)
class Container:
    """The container a command runs in.

    :param image: name or id of an image that the engine has.
    :param writable: directories of the host that it sees at their own path.
    :param readable: the same, read-only.
    :param gpus: as in :class:`Toolchain`; empty for none.
    :param memory_limit: as in :class:`Toolchain`.
    :param cpus: as in :class:`Toolchain`.
    :param shm_size: as in :class:`Toolchain`.
    :param user: as ``container_user`` in :class:`Toolchain`.
    :param network: mode of its network: ``none`` or ``host``.
    """

    image: str
    writable: tuple[str, ...] = ()
    readable: tuple[str, ...] = ()
    gpus: str = ""
    memory_limit: str = ""
    cpus: float = 0.0
    shm_size: str = ""
    user: str = ""
    network: str = "none"


@dataclasses.dataclass(frozen=True)
class Command:
    """What a runner starts: no shell, an environment that is complete, a directory to stand in.

    In a container the environment comes on top of the image's own, its ``PATH`` before the image's.
    """

    argv: list[str]
    env: dict[str, str] = dataclasses.field(default_factory=dict)
    cwd: str = "/"
    container: Container | None = None


@dataclasses.dataclass(frozen=True)
class StepContext:
    """What a step works on.

    :param layout: the data directory.
    :param spec: the declared step.
    :param toolchain: where the tools are.
    :param work: directory the artifact is made in; kept between attempts; becomes the artifact.
    :param job_dir: directory of this job (log, progress, exit); not part of the artifact.
    """

    layout: Layout
    spec: StepSpec
    toolchain: Toolchain
    work: str
    job_dir: str

    def upstream_path(self, kind: str) -> str:
        """Where the artifact of an upstream step lies.

        For ``base`` this is the directory with the weights: the artifact itself, or the local directory
        it refers to.
        """
        return artifact_path(self.layout, kind, self.spec.upstream[kind])

    def upstream_results(self, kind: str) -> dict[str, t.Any]:
        """What an upstream step found out (``results`` of its receipt); outlives pruning."""
        receipt = self.layout.receipt(kind, self.spec.upstream[kind]) or {}
        return dict(receipt.get("results") or {})

    @property
    def progress_file(self) -> str:
        """Where a worker of the core writes its progress (one JSON object, replaced)."""
        return os.path.join(self.job_dir, "progress.json")


def artifact_path(layout: Layout, kind: str, fingerprint: str) -> str:
    """Where the content of an artifact lies (a local base directory is only referred to)."""
    if kind == "base":
        receipt = layout.receipt(kind, fingerprint) or {}
        location = (receipt.get("results") or {}).get("location")
        if location:
            return str(location)
    return layout.artifact(kind, fingerprint)


class Step(abc.ABC):
    """A step of the flow."""

    kind: t.ClassVar[str]
    #: Takes the machine for itself (one at a time, in order).
    heavy: t.ClassVar[bool] = False

    def on_gpu(self, ctx: StepContext) -> bool:
        """Whether its command computes on the GPU, and so waits until nobody else does."""
        del ctx
        return False

    def image(self, toolchain: Toolchain) -> str:
        """The image its command runs in; empty for one that runs on the host itself."""
        del toolchain
        return ""

    def link(self, ctx: StepContext, session: str) -> Link | None:
        """The line to other hosts that run a part of it at the same time; None where there are none.

        :param session: names the attempt.
        """
        del ctx, session
        return None

    @abc.abstractmethod
    def command(self, ctx: StepContext) -> Command | None:
        """Prepare ``ctx.work`` (which may hold an earlier attempt) and say what to run; None for nothing.

        :raises CoreError: when it cannot run; nothing has been started then.
        """

    def perform(self, ctx: StepContext) -> None:
        """The step's own work, in a process of its own (see ``_worker``). Only steps that ask for it have one."""
        raise NotImplementedError(f"{self.kind} has no work of its own in {ctx.work}")

    def progress(self, ctx: StepContext) -> Progress | None:
        """How far the running command is; None when nothing is known yet. Reads only."""
        del ctx
        return None

    @abc.abstractmethod
    def finish(self, ctx: StepContext) -> dict[str, t.Any]:
        """Check that what the command left in ``ctx.work`` is whole, tidy it, and tell the results.

        :raises JobError: when it is not whole; the command's exit status was no proof.
        """

    def drift(self, ctx: StepContext) -> list[str]:
        """What is no longer as the receipt says, outside of the data directory; reads only."""
        del ctx
        return []

    def stop(self, ctx: StepContext, send: t.Callable[[int], None]) -> float:
        """Ask the running command to end well, keeping what it can go on from.

        :param send: sends a signal to all of the command's processes.
        :returns: seconds it may take before it is killed.
        """
        del ctx
        send(signal.SIGTERM)
        return 10.0

    def explain(self, log_tail: t.Sequence[str]) -> tuple[str, str]:
        """Message and hint for a command that failed, from the end of its log."""
        last = log_tail[-1] if log_tail else "no output"
        return last, "The whole log lies in the job's directory."
