# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said at the end of a play that the user interrupts with Ctrl-C.

The runs are detached on the hosts, which the user cannot see. The process of ansible-playbook has to say it: those of
the tasks have ended by then.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
import typing as t

_TEXT = """
What was submitted goes on on the hosts.
  see it:          ansible-playbook … playbooks/status.yml
  follow it again: ansible-playbook … playbooks/finetune.yml
  stop it:         ansible-playbook … playbooks/cancel.yml -e finetune_name=NAME
"""


class _State:
    process = 0
    interrupted = False


def announce() -> None:
    """Have this process print at its end that the work continues, if it is interrupted. No-op when it does already."""
    if _State.process == os.getpid() or threading.current_thread() is not threading.main_thread():
        return
    _State.process = os.getpid()
    previous = signal.getsignal(signal.SIGINT)

    def interrupted(number: int, frame: t.Any) -> None:
        _State.interrupted = os.getpid() == _State.process
        (previous if callable(previous) else signal.default_int_handler)(number, frame)

    signal.signal(signal.SIGINT, interrupted)
    atexit.register(_at_exit)


def _at_exit() -> None:
    if _State.interrupted and os.getpid() == _State.process:
        sys.stderr.write(_TEXT.replace("ansible-playbook …", _command()))


def _command() -> str:
    """The command of this process up to the playbook, if it is ansible-playbook with inventories."""
    words = ["ansible-playbook"]
    arguments = sys.argv[1:]
    for number, word in enumerate(arguments):
        if word in ("-i", "--inventory") and number + 1 < len(arguments):
            words += ["-i", arguments[number + 1]]
    return " ".join(words)
