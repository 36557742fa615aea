"""A guest that runs: what it reaches of this host, what other users see of it, and where its secrets are not."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from harness.images import ensure
from tests.running import FinishedRun, run_scenarios

SCENARIOS = '''
"""What nobody is to reach."""

import json
import os
import socket
import stat
import threading
from pathlib import Path

import pytest

from harness.process import run
from harness.waiting import Deadline, NotYet, wait_for

DNS = "ABCDEFGH"  # any answer would do, also an error


@pytest.fixture
def heard():
    """Whoever connects to a service of this host, on loopback or not."""
    listener = socket.create_server(("0.0.0.0", 0))
    found = []

    def serve():
        while True:
            try:
                found.append(listener.accept()[1])
            except OSError:
                return

    threading.Thread(target=serve, daemon=True).start()
    yield listener.getsockname()[1], found
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def host_addresses():
    said = run(["ip", "-json", "-4", "address"], deadline=Deadline(20)).stdout
    return [info["local"] for link in json.loads(said) for info in link["addr_info"]]


def test_the_guest_reaches_nothing(guest, heard):
    """From its own shell the guest reaches no service of this host, no name server, no file server, no network."""
    port, found = heard
    tcp = [("10.0.2.15", 22), ("10.0.2.2", port), ("10.0.2.3", 53), ("10.0.2.4", 139), ("10.0.2.4", 445)]
    tcp += [(address, port) for address in host_addresses() if address != "127.0.0.1"]
    tcp += [("10.0.2.2", 16509), ("10.0.2.2", 22), ("1.1.1.1", 53), ("9.9.9.9", 443)]
    udp = [("10.0.2.3", 53), ("10.0.2.2", 53), ("10.0.2.2", 69), ("1.1.1.1", 53)]
    lines = ["exec 2>/dev/null", "cd /tmp", "rm -f reach.txt reach.done"]
    for host, number in tcp:
        attempt = f"timeout 10 bash -c 'exec 3<>/dev/tcp/{host}/{number}'"
        lines.append(f"{{ {attempt} && echo tcp {host} {number} yes || echo tcp {host} {number} no; }} >> reach.txt &")
    for host, number in udp:
        ask = f"exec 3<>/dev/udp/{host}/{number}; printf {DNS} >&3; head -c 1 <&3 | grep -q ."
        attempt = f"timeout 10 bash -c '{ask}'"
        lines.append(f"{{ {attempt} && echo udp {host} {number} yes || echo udp {host} {number} no; }} >> reach.txt &")
    lines += ["wait", "mv reach.txt reach.done"]
    guest.files.shell("bash -c " + json.dumps("; ".join(lines).replace("&;", "&")).replace("$", "\\\\$"), Deadline(60))

    def done():
        try:
            return guest.files.read("/tmp/reach.done").decode()
        except Exception as error:
            raise NotYet(error) from error

    said = wait_for(done, Deadline(90), "the guest to have tried", interval=0.5).split("\\n")
    reached = [line for line in said if line.endswith(" yes")]
    assert len([line for line in said if line]) == len(tcp) + len(udp), said
    assert reached == ["tcp 10.0.2.15 22 yes"]  # itself: the way of trying is right
    assert found == []
    with socket.create_connection(("127.0.0.1", port), timeout=10):
        wait_for(lambda: found or None, Deadline(20), "our own connection")  # and so is the way of hearing


def secrets_of(machine):
    folder = machine.image.secrets
    words = [json.loads((folder / "winrm.json").read_text())["password"].encode()]
    key = (folder / "ssh_key").read_bytes().splitlines()
    return words + [line for line in key if len(line) > 40 and b"-----" not in line]


def test_no_process_shows_a_secret(machine, guest):
    """No command line and no environment of a process on this host holds the guest's password or key."""
    guest.run("ver")
    seen = 0
    for process in Path("/proc").glob("[0-9]*"):
        for name in ("cmdline", "environ"):
            try:
                content = (process / name).read_bytes()
            except OSError:
                continue
            seen += bool(content)
            assert not [word for word in secrets_of(machine) if word in content], process / name
    assert seen > 4


def test_other_users_get_nowhere(machine, link):
    """The disk, the image, the secrets, the sockets of QEMU and of libvirt are closed to other users of this host."""
    assert machine.disk.stat().st_mode & 0o007 == 0
    assert machine.disk.parent.stat().st_mode & 0o077 == 0o011
    assert machine.image.disk.stat().st_mode & 0o007 == 0
    assert machine.image.secrets.stat().st_mode & 0o077 == 0
    assert machine.serial_log.exists()
    if os.geteuid() == 0:
        sockets = list(Path("/var/lib/libvirt/qemu").glob(f"domain-*{machine.name[:20]}*/monitor.sock"))
        assert sockets
        nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        for path in (machine.disk, machine.image.disk, machine.image.secrets / "winrm.json", *sockets):
            done = run([*nobody, "head", "-c", "1", path], deadline=Deadline(20), check=False)
            assert done.exit_code != 0, path
            assert "denied" in done.stderr, done.stderr


def test_qemu_listens_on_loopback_alone(machine):
    """Every socket that QEMU listens on is bound to 127.0.0.1."""
    said = run(["ss", "-H", "-tlnp"], deadline=Deadline(20)).stdout
    own = [line.split()[3] for line in said.splitlines() if "qemu" in line]
    assert all(end.startswith("127.0.0.1:") for end in own), own
    ports = {int(end.rpartition(":")[2]) for end in own}
    assert {machine.winrm_port, machine.ssh_port} <= ports
'''

pytestmark = [pytest.mark.vm, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """A run of the scenarios above."""
    folder = tmp_path_factory.mktemp("run")
    scenarios = folder / "test_closed.py"
    scenarios.write_text(SCENARIOS)
    return run_scenarios(folder / "out", "--machines", "1", scenarios, seconds=800)


def test_all_is_closed(finished: FinishedRun) -> None:
    assert {name: record["outcome"] for name, record in finished.by_name.items()} == {
        "test_the_guest_reaches_nothing": "PASS",
        "test_no_process_shows_a_secret": "PASS",
        "test_other_users_get_nowhere": "PASS",
        "test_qemu_listens_on_loopback_alone": "PASS",
    }, finished.text[-5000:]
    assert finished.exit_code == 0


def test_nothing_of_a_run_holds_a_secret(finished: FinishedRun) -> None:
    secrets = ensure("reference").secrets
    words = [json.loads((secrets / "winrm.json").read_text())["password"]]
    words += [line for line in (secrets / "ssh_key").read_text().splitlines() if len(line) > 40 and "-----" not in line]
    assert len(words) >= 3
    files = [path for path in finished.out.rglob("*") if path.is_file()]
    assert {"results.jsonl", "junit.xml", "serial.log", "frames.pcapng", "steps.jsonl"} <= {p.name for p in files}
    for word in words:
        assert word not in finished.text
        assert [str(path) for path in files if word.encode() in path.read_bytes()] == []
    logs = Path("/var/log/libvirt/qemu")
    if os.geteuid() == 0 and logs.is_dir():
        newest = sorted(logs.glob("wfp-hil-*.log"), key=lambda path: path.stat().st_mtime)[-5:]
        assert [str(path) for path in newest if any(word.encode() in path.read_bytes() for word in words)] == []
