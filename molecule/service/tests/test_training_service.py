# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The training service on a systemd host: user, sandbox, access control, and jobs that outlive it."""

from __future__ import annotations

import functools
import json
import subprocess
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.tests.support.probe_core import ADDITIONS

UNIT, USER, DATA = "ia-homelab-training", "llamafactory", "/data/llamafactory"
ETC, LIB = "/etc/ia-homelab/training-service", "/opt/ia-homelab/training-service/lib"
URL = "http://127.0.0.1:8000"
LOOKS, TRAINS = "only-for-this-test-looks", "only-for-this-test-trains"
BEGIN = Path(__file__).with_name("begin_job.py")


@pytest.fixture(scope="module", autouse=True)
def _core_with_test_steps(host: t.Any) -> None:
    """Add the steps that ``begin_job.py`` submits to the core of the service, which does not ship them."""
    core = f"{LIB}/ia_homelab_core"
    if not host.file(f"{core}/steps/probe.py").exists:
        for name, text in ADDITIONS.items():
            host.check_output(f"cat >>{core}/{name} <<'END'\n{text}END")
        # the role compiles the files in such a way that Python does not look whether a source has changed
        host.check_output(f"find {core} -name '*.pyc' -delete && systemctl restart {UNIT}")
        until(lambda: status_of(host, "/healthz") == "200")


def shown(host: t.Any, *names: str) -> dict[str, str]:
    """Properties of the unit."""
    lines = host.check_output(f"systemctl show {UNIT} -p {','.join(names)}").splitlines()
    return dict(line.split("=", 1) for line in lines)


def ask(host: t.Any, path: str, token: str = LOOKS, more: str = "") -> t.Any:
    """The JSON response to a request."""
    return json.loads(host.check_output(f"curl -s -H 'Authorization: Bearer {token}' {more} {URL}{path}"))


def status_of(host: t.Any, path: str, more: str = "") -> str:
    """The status of a response."""
    return str(host.check_output(f"curl -s -o /dev/null -w '%{{http_code}}' {more} {URL}{path}"))


def begin(host: t.Any, name: str, awaited: str) -> str:
    """Submit a run as a play does, in its own session; return its id."""
    code = f"cat > /tmp/begin_job.py <<'END'\n{BEGIN.read_text(encoding='utf-8')}END\n"
    who = f"setpriv --reuid {USER} --regid {USER} --init-groups env PYTHONPATH={LIB} PYTHONDONTWRITEBYTECODE=1"
    return str(host.check_output(f"{code}{who} python3 /tmp/begin_job.py {DATA} {name} {awaited}")).strip()


def supervisors(host: t.Any) -> str:
    """Supervisors, each in a unit of its own."""
    return str(host.run("ps -eo pid=,cgroup:400=,args= | grep -E 'ia-homelab-job@.* -m [^ ]*[.]main supervise'").stdout)


def processes_of_the_service(host: t.Any) -> list[str]:
    """The processes in the unit of the service."""
    return str(host.check_output(f"ps -eo cgroup:400=,args= | grep '/{UNIT}[.]service'")).splitlines()


def until(what: t.Callable[[], t.Any], seconds: float = 600.0) -> t.Any:
    """Wait until a function returns a true value; errors are retried."""
    end = time.monotonic() + seconds
    while True:
        try:
            if found := what():
                return found
        except (AssertionError, ValueError, RuntimeError):  # RuntimeError: ssh cannot connect
            if time.monotonic() > end:
                raise
        assert time.monotonic() < end, "timeout"
        time.sleep(0.5)


def test_unit_runs_and_is_enabled(host: t.Any) -> None:
    assert host.service(UNIT).is_running
    assert host.service(UNIT).is_enabled
    pid = shown(host, "MainPID")["MainPID"]
    assert host.check_output(f"ps -o user= -p {pid}").strip() == USER
    assert host.socket("tcp://0.0.0.0:8000").is_listening


def test_only_digests_of_tokens_are_on_the_host(host: t.Any) -> None:
    tokens = host.file(f"{ETC}/tokens.json")
    assert (tokens.user, tokens.group, tokens.mode) == ("root", USER, 0o640)
    assert {token["name"] for token in json.loads(tokens.content_string)} == {"looks", "trains"}
    assert not host.file(f"{ETC}/token").exists, "tokens are declared, so none is made"
    for place in (ETC, "/etc/systemd/system", "/opt/ia-homelab", DATA):
        assert host.run(f"grep -rqs -e {LOOKS} -e {TRAINS} {place}").rc == 1, f"a token lies in {place}"
    journal = host.check_output(f"journalctl -u {UNIT} --no-pager")
    assert LOOKS not in journal and TRAINS not in journal


def test_sign_in_link_works_once(host: t.Any) -> None:
    program = "$(ls -d /opt/ia-homelab/training-service/venv-*)/bin/python -m ia_homelab_service sign-in-link"
    link = host.check_output(f"PYTHONPATH={LIB} PYTHONDONTWRITEBYTECODE=1 {program} {ETC}/settings.json")
    # the one that the role printed may be there as well
    assert set(host.check_output(f"stat -c '%U %a' {DATA}/service/sign-in/*").splitlines()) == {f"{USER} 600"}
    path = f"/login?{link.partition('?')[2]}"
    assert [status_of(host, path) for _attempt in range(2)] == ["303", "401"]


def test_access_control(host: t.Any) -> None:
    assert status_of(host, "/healthz") == "200"
    assert status_of(host, "/api/jobs") == "401"
    assert status_of(host, "/api/jobs", f"-H 'Authorization: Bearer {LOOKS}'") == "200"
    post = "-X POST -H 'Content-Type: application/json' -d '{}'"
    assert status_of(host, "/api/train", f"{post} -H 'Authorization: Bearer {LOOKS}'") == "403"
    assert status_of(host, "/api/train", f"{post} -H 'Authorization: Bearer {TRAINS}'") == "422"
    assert status_of(host, "/api/jobs", f"-H 'Authorization: Bearer {LOOKS}' -H 'Host: evil.example'") == "421"
    assert status_of(host, "/api/jobs", f"-H 'Authorization: Bearer {LOOKS}' -H 'X-Forwarded-For: 192.0.2.1'") == "403"


def test_sandbox_is_effective(host: t.Any) -> None:
    pid = shown(host, "MainPID")["MainPID"]
    status = dict(
        line.split(":\t", 1) for line in host.check_output(f"cat /proc/{pid}/status").splitlines() if ":\t" in line
    )
    assert int(status["CapBnd"], 16) == 0 and int(status["CapEff"], 16) == 0
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    # in the namespace of the service, only the data directory is writable
    inside = f"nsenter --target {pid} --mount --setuid $(id -u {USER}) --setgid $(id -g {USER})"
    assert host.run(f"{inside} touch {DATA}/service/tmp/may").rc == 0
    for place in ("/etc/may", "/opt/may", "/usr/may", "/data/may"):
        assert host.run(f"{inside} touch {place}").rc != 0, place
    for place in ("/tmp/may", "/var/tmp/may"):
        assert host.run(f"{inside} touch {place}").rc == 0 and not host.file(place).exists, "it has one of its own"
    assert not host.run(f"{inside} cat /proc/1/comm").stdout, "processes of other users are hidden"
    assert host.run(f"{inside} ls /root").rc != 0
    # systemd's exposure level: 0 is fully sandboxed, 10 is open
    rating = host.check_output(f"systemd-analyze security --no-pager {UNIT} | tail -n 1")
    assert float(rating.split(":")[1].split()[0]) < 5.5, rating


@pytest.mark.parametrize("how", ["restart", "kill"])
def test_running_job_outlives_the_service(host: t.Any, how: str) -> None:
    name = f"outlives-{how}-{int(time.time())}"
    run = begin(host, name, f"/tmp/{name}")
    # taken over by the service: its supervisor is killed, and the service starts the next one
    folder = f"{DATA}/jobs/active/{run}"
    first = until(functools.partial(host.check_output, f"cat {folder}/*/supervisor.json"))
    host.check_output(f"kill -9 {json.loads(first)['pid']}")
    before = until(lambda: supervisors(host))
    until(lambda: ask(host, f"/api/status/{run}")["status"] == "running")
    main = shown(host, "MainPID")["MainPID"]
    if how == "restart":
        host.check_output(f"systemctl restart {UNIT}")
    else:
        host.check_output(f"kill -9 {main}")
    until(lambda: status_of(host, "/healthz") == "200" and shown(host, "MainPID")["MainPID"] != main)
    assert supervisors(host) == before, "it is the same supervisor"
    (only,) = processes_of_the_service(host)
    assert "ia_homelab_service" in only, "jobs are not part of the unit of the service"
    host.check_output(f"touch /tmp/{name}")
    assert until(lambda: ask(host, f"/api/status/{run}")["status"].replace("running", "")) == "succeeded"
    reported = ask(host, f"/api/jobs/{run}/events")["events"]
    assert [event["id"] for event in reported] == list(range(1, len(reported) + 1))
    assert reported[-1]["message"] == "Succeeded."
    assert sum(event["message"] == "Queued." for event in reported) == 1


@pytest.mark.parametrize("how", ["reboot", "power cut"])
def test_job_continues_after_a_reboot(host: t.Any, how: str) -> None:
    name = f"machine-{how[:5]}-{int(time.time())}"
    run, awaited = begin(host, name, f"/var/tmp/{name}"), f"/var/tmp/{name}"
    until(lambda: ask(host, f"/api/jobs/{run}/events")["events"][-1]["message"] == "step-0 started.", 60)
    seen = ask(host, f"/api/jobs/{run}/events")["events"]
    machine = host.check_output("hostname")
    order = ["restart", "--time", "60"] if how == "reboot" else ["kill", "--signal", "KILL"]
    subprocess.run(["docker", *order, machine], check=True, timeout=120)
    if how == "power cut":
        subprocess.run(["docker", "start", machine], check=True, timeout=120)
    # it is not submitted again, and the service starts on its own
    until(lambda: ask(host, f"/api/status/{run}")["status"] == "running", 120)
    until(lambda: host.run(f"pgrep --full '[v]ar/tmp/{name}'").rc == 0, 60)
    host.check_output(f"touch {awaited}")
    stream = f"-N -H 'Accept: text/event-stream' -H 'Last-Event-ID: {seen[-1]['id']}'"
    reported = host.check_output(
        f"curl -s -m 120 -H 'Authorization: Bearer {LOOKS}' {stream} {URL}/api/jobs/{run}/events"
    )
    rest = [json.loads(line[6:]) for line in reported.splitlines() if line.startswith("data: ") and '"job_id"' in line]
    events = [*seen, *(event for event in rest if "message" in event)]
    assert [event["id"] for event in events] == list(range(1, len(events) + 1)), "without gaps and duplicates"
    assert events == ask(host, f"/api/jobs/{run}/events")["events"]
    messages = [event["message"] for event in events]
    assert messages[-1] == "Succeeded." and messages.count("Succeeded.") == messages.count("Queued.") == 1
    assert host.file(f"{DATA}/service/tmp/{name}").content_string == "ended\n", "it ended once"


def test_unit_starts_at_boot_after_its_dependencies(host: t.Any) -> None:
    reported = shown(host, "WantedBy", "After", "Restart", "KillMode", "OOMPolicy")
    assert reported["WantedBy"] == "multi-user.target"
    assert "network-online.target" in reported["After"]
    assert (reported["Restart"], reported["KillMode"], reported["OOMPolicy"]) == ("always", "process", "continue")
