# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The disk space for uploads: what is stored, and what concurrent uploads have reserved as their bytes arrive."""

from __future__ import annotations

import contextlib
import os
import threading
import typing as t

from ia_homelab_core.artifacts.layout import Layout
from ia_homelab_core.datasets.unused_versions import versions_of

from ..settings import Settings
from .errors import TooLargeError

#: Recorded in the receipts of the versions that the service publishes: these count.
PUBLISHER = "service"


class UploadQuota:
    """The space that all uploads of a service share.

    Counted are stored files, the versions of datasets that the service has published, and uploads in progress.
    """

    def __init__(self, settings: Settings, layout: Layout) -> None:
        self._settings = settings
        self._layout = layout
        self._lock = threading.Lock()
        self._stored = 0
        self._reserved: dict[Reservation, int] = {}

    @contextlib.contextmanager
    def reservation(self) -> t.Iterator[Reservation]:
        """Provide the reservation of one upload; it ends with the context, when what was stored is measured again."""
        reservation = Reservation(self)
        with self._lock:
            self._stored = self._measure()
            self._reserved[reservation] = 0
        try:
            yield reservation
        finally:
            with self._lock:
                self._stored = self._measure()
                del self._reserved[reservation]

    def reserve(self, reservation: Reservation, size: int) -> None:
        """Reserve bytes for an upload, beside those that it has reserved before.

        :param size: how many it needs in total.
        :raises TooLargeError: when there is no room for them.
        """
        with self._lock:
            if size <= self._reserved[reservation]:
                return
            others = sum(self._reserved.values()) - self._reserved[reservation]
            room = max(0, self._settings.upload_quota_bytes - self._stored - others)
            limit = min(self._settings.max_upload_bytes, room)
            if size > limit:
                raise TooLargeError("service.upload_too_large", bytes=limit)
            self._reserved[reservation] = size

    def _measure(self) -> int:
        stored = sum(versions_of(self._layout, PUBLISHER).values())
        for root, _dirs, names in os.walk(self._settings.path("files")):
            for name in names:
                with contextlib.suppress(OSError):
                    stored += os.lstat(os.path.join(root, name)).st_size
        return stored


class Reservation:
    """The bytes that one upload has reserved."""

    def __init__(self, quota: UploadQuota) -> None:
        self._quota = quota

    def reach(self, size: int) -> None:
        """Reserve bytes until there are as many as that.

        :raises TooLargeError: when there is no room for them.
        """
        self._quota.reserve(self, size)
