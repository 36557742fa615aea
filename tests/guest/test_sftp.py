from __future__ import annotations

import hashlib
import os
import socket
import threading
from unittest.mock import Mock

import paramiko
import pytest

from harness.errors import AuthenticationFailed, HostError, TransportError
from harness.guest.sftp import SftpTransport
from harness.waiting import Deadline


class Handle(paramiko.SFTPHandle):
    """A file of the server; after `cut_after` bytes were written the connection goes away."""

    def __init__(self, server, file, flags):
        super().__init__(flags)
        self.server = server
        self.readfile = self.writefile = file

    def stat(self):
        return paramiko.SFTPAttributes.from_stat(os.fstat(self.readfile.fileno()))

    def write(self, offset, data):
        if self.server.cut_after is not None and offset + len(data) > self.server.cut_after:
            self.server.cut_after = None if self.server.cuts == 1 else self.server.cut_after
            self.server.cuts -= 1
            self.server.cut()
            return paramiko.SFTP_FAILURE
        if self.server.damages:
            data = bytes([data[0] ^ 1]) + data[1:]
        return super().write(offset, data)


class Files(paramiko.SFTPServerInterface):
    """Files below a folder."""

    def __init__(self, ssh, server, *_args, **_kwargs):
        super().__init__(ssh)
        self.server = server

    def path(self, name):
        return self.server.root / name.lstrip("/")

    def tell(self, work):
        try:
            return work() or paramiko.SFTP_OK
        except OSError as error:
            return paramiko.SFTPServer.convert_errno(error.errno)

    def open(self, path, flags, attr):
        try:
            descriptor = os.open(self.path(path), flags, 0o644)
        except OSError as error:
            return paramiko.SFTPServer.convert_errno(error.errno)
        mode = "r+b" if flags & os.O_RDWR else "wb" if flags & os.O_WRONLY else "rb"
        return Handle(self.server, os.fdopen(descriptor, mode), flags)

    def stat(self, path):
        return self.tell(lambda: paramiko.SFTPAttributes.from_stat(self.path(path).stat()))

    def remove(self, path):
        return self.tell(self.path(path).unlink)

    def mkdir(self, path, attr):
        return self.tell(self.path(path).mkdir)

    def list_folder(self, path):
        return [paramiko.SFTPAttributes.from_stat(p.stat(), p.name) for p in self.path(path).iterdir()]

    def posix_rename(self, old, new):
        if not self.server.has_posix_rename:
            return paramiko.SFTP_OP_UNSUPPORTED
        return self.tell(lambda: self.path(old).replace(self.path(new)) and None)

    def rename(self, old, new):
        if self.path(new).exists():
            return paramiko.SFTP_FAILURE
        return self.tell(lambda: self.path(old).rename(self.path(new)) and None)


class Login(paramiko.ServerInterface):
    def __init__(self, key):
        self.key = key

    def check_auth_publickey(self, username, key):
        return paramiko.AUTH_SUCCESSFUL if key == self.key else paramiko.AUTH_FAILED

    def get_allowed_auths(self, username):
        return "publickey"

    def check_channel_request(self, kind, chanid):
        return paramiko.OPEN_SUCCEEDED


class SshServer:
    """An SSH server at the other end of a socket pair; each connect makes a new pair."""

    def __init__(self, root, host_key, user_key):
        self.root = root
        self.host_key = host_key
        self.user_key = user_key
        self.transports = []
        self.connects = 0
        self.cut_after = None
        self.cuts = 1
        self.damages = False
        self.has_posix_rename = True

    def connect(self):
        self.connects += 1
        ours, theirs = socket.socketpair()
        ssh = paramiko.Transport(theirs)
        ssh.add_server_key(self.host_key)
        ssh.set_subsystem_handler("sftp", paramiko.SFTPServer, Files, self)
        ssh.start_server(event=threading.Event(), server=Login(self.user_key))
        self.transports.append(ssh)
        return ours

    def cut(self):
        self.transports[-1].sock.shutdown(socket.SHUT_RDWR)

    def stop(self):
        for ssh in self.transports:
            ssh.close()
            ssh.join(5)


@pytest.fixture(scope="session")
def keys(tmp_path_factory):
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ed25519

    folder = tmp_path_factory.mktemp("keys")
    made = {}
    for name in ("host", "user", "stranger"):
        raw = ed25519.Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
        )
        (folder / name).write_bytes(raw)
        made[name] = paramiko.Ed25519Key.from_private_key_file(str(folder / name))
    return folder, made


@pytest.fixture
def server(tmp_path, keys):
    root = tmp_path / "root"
    root.mkdir()
    server = SshServer(root, keys[1]["host"], keys[1]["user"])
    yield server
    server.stop()


@pytest.fixture
def open_files(server, keys):
    opened = []

    def make(*, key="user", host="host", **options):
        folder, made = keys
        pinned = f"{made[host].get_name()} {made[host].get_base64()} root@guest"
        files = SftpTransport(
            port=22, user="Administrator", key=folder / key, host_key=pinned, connect=server.connect, **options
        )
        opened.append(files)
        return files

    yield make
    for files in opened:
        files.close()


@pytest.fixture
def files(open_files):
    return open_files()


@pytest.fixture
def big(tmp_path):
    path = tmp_path / "big.sys"
    path.write_bytes(os.urandom(200_000))
    return path


def names(server):
    return sorted(path.name for path in server.root.iterdir())


def test_put_arrives_under_its_own_name_only(files, server, big):
    seen = []

    digest = files.put(big, "/x.sys", progress=lambda done, total: seen.append((done, total)))

    assert (server.root / "x.sys").read_bytes() == big.read_bytes()
    assert digest == hashlib.sha256(big.read_bytes()).hexdigest()
    assert names(server) == ["x.sys"]
    assert seen[0] == (0, 200_000)
    assert seen[-1] == (200_000, 200_000)
    assert seen == sorted(seen)


def test_put_replaces_what_is_there(files, server, big):
    (server.root / "x.sys").write_bytes(b"old and longer" * 30_000)
    files.put(big, "/x.sys")

    assert (server.root / "x.sys").read_bytes() == big.read_bytes()


def test_put_replaces_on_a_server_without_posix_rename(files, server, big):
    server.has_posix_rename = False
    (server.root / "x.sys").write_bytes(b"old")
    files.put(big, "/x.sys")

    assert (server.root / "x.sys").read_bytes() == big.read_bytes()


def test_empty_file(files, server, tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    files.put(tmp_path / "empty", "/empty")

    assert (server.root / "empty").read_bytes() == b""


def test_a_cut_in_the_middle_is_resumed_where_it_was(files, server, big):
    server.cut_after = 100_000
    seen = []

    files.put(big, "/x.sys", progress=lambda done, total: seen.append(done))

    assert (server.root / "x.sys").read_bytes() == big.read_bytes()
    assert server.connects == 2
    assert seen.count(0) == 1
    assert names(server) == ["x.sys"]


def test_a_second_cut_fails_and_leaves_nothing(files, server, big):
    server.cut_after, server.cuts = 100_000, 2
    with pytest.raises(TransportError, match=r"was cut twice while sending 'big\.sys'"):
        files.put(big, "/x.sys")

    assert names(server) == []


def test_a_connection_that_paramiko_finds_closed_is_a_cut_like_any_other(files, server, big, monkeypatch):
    monkeypatch.setattr(paramiko.SFTPFile, "write", Mock(side_effect=OSError("Socket is closed")))

    with pytest.raises(TransportError, match=r"was cut twice while sending 'big\.sys' \(Socket is closed\)"):
        files.put(big, "/x.sys")
    assert server.connects == 3, "the second attempt's and that of the clearing up"


def test_damage_on_the_way_is_found_and_leaves_the_old_file(files, server, big):
    (server.root / "x.sys").write_bytes(b"old")
    server.damages = True

    with pytest.raises(TransportError, match="arrived in the guest with SHA-256"):
        files.put(big, "/x.sys")
    assert names(server) == ["x.sys"]
    assert (server.root / "x.sys").read_bytes() == b"old"


def test_a_hash_from_the_guest_is_believed_over_reading_back(open_files, server, big):
    with pytest.raises(TransportError, match="with SHA-256 00000000"):
        open_files(remote_hash=lambda path: "0" * 64).put(big, "/x.sys")
    assert names(server) == []


def test_folder_that_does_not_exist_is_named(files, big):
    with pytest.raises(TransportError, match=r"while sending 'big\.sys': No such file"):
        files.put(big, "/nowhere/x.sys")


def test_local_file_that_does_not_exist_is_the_hosts_fault(files, tmp_path):
    with pytest.raises(HostError, match="could not be read: No such file"):
        files.put(tmp_path / "gone", "/x")


def test_get_gives_the_same_bytes(files, server, big, tmp_path):
    (server.root / "dump").write_bytes(big.read_bytes())
    digest = files.get("/dump", tmp_path / "dump")

    assert (tmp_path / "dump").read_bytes() == big.read_bytes()
    assert digest == hashlib.sha256(big.read_bytes()).hexdigest()


def test_get_of_what_does_not_exist_leaves_nothing(files, tmp_path):
    before = sorted(tmp_path.iterdir())
    with pytest.raises(TransportError, match="while fetching '/gone': No such file"):
        files.get("/gone", tmp_path / "gone")

    assert sorted(tmp_path.iterdir()) == before


def test_read_gives_the_content(files, server):
    (server.root / "boot-id").write_bytes(b"0815\n")

    assert files.read("/boot-id") == b"0815\n"


def test_make_folder_twice_and_remove_twice(files, server, big):
    files.make_folder("/d")
    files.make_folder("/d")
    files.put(big, "/d/x")
    assert files.list_folder("/d") == ["x"]
    files.remove("/d/x")
    files.remove("/d/x")
    assert files.list_folder("/d") == []


def test_another_host_key_is_refused_before_any_login(open_files, server, big):
    with pytest.raises(AuthenticationFailed, match=r"host key on 127\.0\.0\.1:22 is SHA256:.*, wanted SHA256:"):
        open_files(host="stranger").put(big, "/x")
    assert names(server) == []


def test_another_user_key_is_refused(open_files, big):
    with pytest.raises(AuthenticationFailed, match="refused the key of user 'Administrator'"):
        open_files(key="stranger").put(big, "/x")


def test_after_a_revert_the_next_call_connects_anew(files, server, big):
    files.put(big, "/one")
    server.cut()
    files.disconnect()
    files.put(big, "/two")

    assert names(server) == ["one", "two"]
    assert server.connects == 2


def test_waiting_for_ssh_says_what_it_saw(keys):
    def refuse():
        raise ConnectionRefusedError(111, "Connection refused")

    folder, made = keys
    pinned = f"{made['host'].get_name()} {made['host'].get_base64()}"
    files = SftpTransport(port=22, user="u", key=folder / "user", host_key=pinned, connect=refuse)

    with pytest.raises(Exception, match="Connection refused"):
        files.wait_until_ready(Deadline(0.2))


def test_a_damaged_host_key_is_named(keys):
    with pytest.raises(HostError, match="is not an SSH public key"):
        SftpTransport(port=22, user="u", key=keys[0] / "user", host_key="nonsense")
