# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Client of the Docker Engine. This is the only file that imports the ``docker`` SDK.

The SDK is the engine's own client library (connections over a socket or TLS, its errors, its types). It is imported on
first use by the interpreter that runs this code: that of the managed host, where the distribution's package
``python3-docker`` provides it. The code requires SDK 5.0 or later.
"""

from __future__ import annotations

import sys
import typing as t

from ..errors import NotReadyError
from ..messages.message import Message

T = t.TypeVar("T")

#: Label of a job's container: the marker of the job.
LABEL_JOB = "ia-homelab.job"

#: Seconds after which a request times out.
_TIMEOUT = 60

#: Grace period in seconds before a container is killed.
_STOP_SECONDS = 20


class EngineUnavailableError(NotReadyError):
    """The engine does not answer: it is not running, or this user has no access to it."""


class EngineRequestError(NotReadyError):
    """The engine rejected a request.

    :param http_status: HTTP status of the response.
    """

    def __init__(self, code: str, /, *, http_status: int, **parameters: t.Any) -> None:
        super().__init__(code, **parameters)
        self.status = http_status


class DockerEngine:
    """One engine. Every call reports whether the engine is available; a broken connection is reopened.

    :param url: address of the engine; empty for ``DOCKER_HOST`` or the default socket.
    """

    def __init__(self, url: str = "") -> None:
        self._url = url
        self._client: t.Any = None

    def _call(self, request: t.Callable[[t.Any], T]) -> T:
        try:
            import docker
            import requests
        except ImportError as error:
            raise NotReadyError("system.docker_sdk_missing", executable=sys.executable, reason=error) from error
        try:
            if self._client is None:
                settings = docker.utils.kwargs_from_env() if not self._url else {"base_url": self._url}
                self._client = docker.APIClient(version="auto", timeout=_TIMEOUT, **settings)
            return request(self._client)
        except docker.errors.APIError as error:
            explanation = str(error.explanation or error)
            status = error.response.status_code if error.response is not None else 500
            raise EngineRequestError("system.docker_error", http_status=int(status), reason=explanation) from error
        except (docker.errors.DockerException, requests.exceptions.RequestException, OSError) as error:
            self._client = None
            denied = "Permission denied" in str(error)
            code = "system.docker_denied" if denied else "system.docker_unavailable"
            address = self._url or Message("system.default_socket")
            raise EngineUnavailableError(code, address=address, reason=error) from error

    def inspect(self, name: str) -> dict[str, t.Any] | None:
        """Return the description of a container by name or id; None if it does not exist."""
        try:
            description: dict[str, t.Any] = self._call(lambda client: client.inspect_container(name))
        except EngineRequestError as error:
            if error.status == 404:
                return None
            raise
        return description

    def image(self, name: str) -> dict[str, t.Any] | None:
        """Return the description of an image by name or id; None if the engine does not have it."""
        try:
            description: dict[str, t.Any] = self._call(lambda client: client.inspect_image(name))
        except EngineRequestError as error:
            if error.status == 404:
                return None
            raise
        return description

    def labelled(self, label: str) -> list[dict[str, t.Any]]:
        """List all containers, running or not, with a label ``key=value``: ``Id``, ``Labels``, ``State``."""
        containers: list[dict[str, t.Any]] = self._call(
            lambda client: client.containers(all=True, filters={"label": [label]})
        )
        return containers

    def running(self) -> list[dict[str, t.Any]]:
        """List the running containers: ``Id``, ``Names``, ``Labels``, ``Ports``."""
        containers: list[dict[str, t.Any]] = self._call(lambda client: client.containers())
        return containers

    def create(self, name: str, config: t.Mapping[str, t.Any], host: t.Mapping[str, t.Any]) -> str:
        """Create a container without starting it.

        :param config: arguments of ``APIClient.create_container``.
        :param host: arguments of ``APIClient.create_host_config``.
        :returns: id of the container.
        """

        def request(client: t.Any) -> str:
            host_config = client.create_host_config(**host)
            return str(client.create_container(name=name, host_config=host_config, **config)["Id"])

        return self._call(request)

    def create_from(self, name: str, body: t.Mapping[str, t.Any]) -> str:
        """Create a container, without starting it, from a request body of the engine's API; return its id."""
        return str(self._call(lambda client: client.create_container_from_config(dict(body), name))["Id"])

    def start(self, container: str) -> None:
        """Start a container."""
        self._call(lambda client: client.start(container))

    def stop(self, container: str) -> None:
        """Stop a container if it exists and runs. The engine kills it after :data:`_STOP_SECONDS`."""
        try:
            self._call(lambda client: client.stop(container, timeout=_STOP_SECONDS))
        except EngineRequestError as error:
            if error.status != 404:
                raise

    def run_inside(self, container: str, argv: list[str]) -> None:
        """Run a command inside a running container as the container's user, and wait for it."""

        def request(client: t.Any) -> None:
            execution = client.exec_create(container, argv, stdout=False, stderr=False)
            client.exec_start(execution["Id"])

        self._call(request)

    def kill(self, container: str, number: int) -> None:
        """Send a signal to the first process of a container."""
        self._call(lambda client: client.kill(container, number))

    def remove(self, container: str) -> None:
        """Kill and remove a container and its anonymous volumes."""
        try:
            self._call(lambda client: client.remove_container(container, force=True, v=True))
        except EngineRequestError as error:
            if error.status not in (404, 409):  # already removed, or its removal is in progress
                raise

    def output(self, image: str, argv: list[str], reads: t.Iterable[str] = ()) -> bytes:
        """Run a command in a temporary container and return its standard output.

        :param reads: host directories to mount read-only.
        """

        def request(client: t.Any) -> bytes:
            host = client.create_host_config(
                network_mode="none", mounts=[mount(path.partition(":")[0], True) for path in reads]
            )
            container = client.create_container(image, entrypoint=argv[:1], command=argv[1:], host_config=host)["Id"]
            try:
                client.start(container)
                client.wait(container, timeout=_TIMEOUT)
                return bytes(client.logs(container, stdout=True, stderr=False))
            finally:
                client.remove_container(container, force=True, v=True)

        return self._call(request)


def mount(source: str, read_only: bool) -> t.Any:
    """Return a bind mount of a host directory at the same path. Unlike a volume, the directory must exist."""
    import docker

    return docker.types.Mount(source, source, type="bind", read_only=read_only)


def gpu_request(gpus: str) -> t.Any:
    """Return the device request for GPUs.

    :param gpus: ``all``, or comma-separated indexes, UUIDs or CDI names (``nvidia.com/gpu=0``).
    """
    import docker

    names = [name.strip() for name in gpus.split(",") if name.strip()]
    if any("=" in name for name in names):
        return docker.types.DeviceRequest(driver="cdi", device_ids=names)
    if names == ["all"]:
        return docker.types.DeviceRequest(count=-1, capabilities=[["gpu"]])
    return docker.types.DeviceRequest(device_ids=names, capabilities=[["gpu"]])


def log_bounds() -> t.Any:
    """Return a log configuration with a size limit: the output of a job goes to the job's own log file."""
    import docker

    return docker.types.LogConfig(type="json-file", config={"max-size": "1m", "max-file": "1"})
