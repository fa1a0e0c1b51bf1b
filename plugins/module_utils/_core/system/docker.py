# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Docker Engine, asked through the ``docker`` SDK: the one file that imports it.

The SDK is the engine's own client library (connections over a socket or TLS, its errors, its types). It is imported
when it is needed first, by the interpreter that runs this: the managed host's, where the distribution's package
``python3-docker`` has it. Written for the SDK from 5.0 on.
"""

from __future__ import annotations

import sys
import typing as t

from ..errors import NotReadyError

T = t.TypeVar("T")

#: Seconds after which a request is given up.
_TIMEOUT = 60

#: Seconds a container has to end well in.
_STOP_SECONDS = 20


class EngineAwayError(NotReadyError):
    """The engine does not answer: it is not running, or not for us."""


class EngineRefusedError(NotReadyError):
    """The engine answered with an error.

    :param status: HTTP status of its answer.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class DockerEngine:
    """One engine. Every call says anew whether it is there: a connection that broke is made again.

    :param url: its address; empty for ``DOCKER_HOST``, or the default socket.
    """

    def __init__(self, url: str = "") -> None:
        self._url = url
        self._client: t.Any = None

    def _call(self, ask: t.Callable[[t.Any], T]) -> T:
        try:
            import docker
            import requests
        except ImportError as error:
            raise NotReadyError(
                f"The Python package docker (the Docker SDK) cannot be imported by {sys.executable}: {error}.",
                "Install the distribution's package python3-docker on this host, or 'pip install docker' for that "
                "interpreter.",
            ) from error
        try:
            if self._client is None:
                settings = docker.utils.kwargs_from_env() if not self._url else {"base_url": self._url}
                self._client = docker.APIClient(version="auto", timeout=_TIMEOUT, **settings)
            return ask(self._client)
        except docker.errors.APIError as error:
            told = str(error.explanation or error)
            status = error.response.status_code if error.response is not None else 500
            raise EngineRefusedError(f"The Docker engine says: {told}", int(status)) from error
        except (docker.errors.DockerException, requests.exceptions.RequestException, OSError) as error:
            self._client = None
            where = self._url or "its default socket"
            raise EngineAwayError(
                f"The Docker engine does not answer at {where}: {error}",
                "The user of the jobs has to be in the group docker."
                if "Permission denied" in str(error)
                else "Start it with 'systemctl start docker', and look into 'journalctl -u docker'.",
            ) from error

    def inspect(self, name: str) -> dict[str, t.Any] | None:
        """A container by its name or id; None when there is none."""
        try:
            found: dict[str, t.Any] = self._call(lambda client: client.inspect_container(name))
        except EngineRefusedError as error:
            if error.status == 404:
                return None
            raise
        return found

    def image(self, name: str) -> dict[str, t.Any] | None:
        """An image by its name or id; None when the engine does not have it."""
        try:
            found: dict[str, t.Any] = self._call(lambda client: client.inspect_image(name))
        except EngineRefusedError as error:
            if error.status == 404:
                return None
            raise
        return found

    def labelled(self, label: str) -> list[dict[str, t.Any]]:
        """All containers, running or not, with a label ``key=value``: ``Id``, ``Labels``, ``State``."""
        found: list[dict[str, t.Any]] = self._call(
            lambda client: client.containers(all=True, filters={"label": [label]})
        )
        return found

    def running(self) -> list[dict[str, t.Any]]:
        """The containers that run: ``Id``, ``Names``, ``Labels``, ``Ports``."""
        found: list[dict[str, t.Any]] = self._call(lambda client: client.containers())
        return found

    def create(self, name: str, config: t.Mapping[str, t.Any], host: t.Mapping[str, t.Any]) -> str:
        """Make a container that does not run yet; its id.

        :param config: arguments of ``APIClient.create_container``.
        :param host: arguments of ``APIClient.create_host_config``.
        """

        def ask(client: t.Any) -> str:
            host_config = client.create_host_config(**host)
            return str(client.create_container(name=name, host_config=host_config, **config)["Id"])

        return self._call(ask)

    def create_from(self, name: str, body: t.Mapping[str, t.Any]) -> str:
        """Make a container that does not run yet from a body as the engine's own API takes it; its id."""
        return str(self._call(lambda client: client.create_container_from_config(dict(body), name))["Id"])

    def start(self, container: str) -> None:
        """Start a container."""
        self._call(lambda client: client.start(container))

    def stop(self, container: str) -> None:
        """Have a container end, if it is there and runs; killed when it does not in :data:`_STOP_SECONDS`."""
        try:
            self._call(lambda client: client.stop(container, timeout=_STOP_SECONDS))
        except EngineRefusedError as error:
            if error.status != 404:
                raise

    def run_inside(self, container: str, argv: list[str]) -> None:
        """Run a command inside a running container, as its user, and wait for it."""

        def ask(client: t.Any) -> None:
            made = client.exec_create(container, argv, stdout=False, stderr=False)
            client.exec_start(made["Id"])

        self._call(ask)

    def kill(self, container: str, number: int) -> None:
        """Send a signal to the first process of a container."""
        self._call(lambda client: client.kill(container, number))

    def remove(self, container: str) -> None:
        """Kill a container and take it away, with its anonymous volumes."""
        try:
            self._call(lambda client: client.remove_container(container, force=True, v=True))
        except EngineRefusedError as error:
            if error.status not in (404, 409):  # gone, or somebody is at it already
                raise

    def output(self, image: str, argv: list[str], reads: t.Iterable[str] = ()) -> bytes:
        """What a command prints to its standard output, in a container that is gone afterwards.

        :param reads: directories it sees, read-only.
        """

        def ask(client: t.Any) -> bytes:
            host = client.create_host_config(
                network_mode="none", mounts=[mount(path.partition(":")[0], True) for path in reads]
            )
            made = client.create_container(image, entrypoint=argv[:1], command=argv[1:], host_config=host)["Id"]
            try:
                client.start(made)
                client.wait(made, timeout=_TIMEOUT)
                return bytes(client.logs(made, stdout=True, stderr=False))
            finally:
                client.remove_container(made, force=True, v=True)

        return self._call(ask)


def mount(source: str, read_only: bool) -> t.Any:
    """A directory of the host at its own path; unlike a volume's, it has to be there."""
    import docker

    return docker.types.Mount(source, source, type="bind", read_only=read_only)


def gpu_request(gpus: str) -> t.Any:
    """What asks the engine for GPUs.

    :param gpus: ``all``, indexes or UUIDs with commas between, or CDI names (``nvidia.com/gpu=0``).
    """
    import docker

    names = [name.strip() for name in gpus.split(",") if name.strip()]
    if any("=" in name for name in names):
        return docker.types.DeviceRequest(driver="cdi", device_ids=names)
    if names == ["all"]:
        return docker.types.DeviceRequest(count=-1, capabilities=[["gpu"]])
    return docker.types.DeviceRequest(device_ids=names, capabilities=[["gpu"]])


def log_bounds() -> t.Any:
    """A container's own log, bounded: a job's output goes to its file."""
    import docker

    return docker.types.LogConfig(type="json-file", config={"max-size": "1m", "max-file": "1"})
