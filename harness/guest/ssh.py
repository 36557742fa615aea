"""The SSH connection to the guest: pinned host key, made when first needed, made anew after it was cut."""

from __future__ import annotations

import base64
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import paramiko

from harness.errors import AuthenticationFailed, HostError, TransportError
from harness.waiting import Deadline

_CONNECT_SECONDS = 30.0

Connect = Callable[[], socket.socket]


class SshConnection:
    """One connection at a time to an SSH port of this host that is forwarded to the guest."""

    def __init__(
        self, *, port: int, user: str, key: Path, host_key: str, connect: Connect | None, answer_seconds: float
    ) -> None:
        self.port = port
        self._user = user
        self._key = key
        self._host_key = _parse_host_key(host_key)
        self._connect = connect or (lambda: socket.create_connection(("127.0.0.1", port), timeout=answer_seconds))
        self._answer_seconds = answer_seconds
        self._ssh: paramiko.Transport | None = None
        self._client: paramiko.SFTPClient | None = None

    def sftp(self) -> paramiko.SFTPClient:
        """The SFTP client; connects when there is no connection.

        Raises TransportError when nobody answers, AuthenticationFailed when it is another host or the key is refused.
        """
        if self._client is not None:
            return self._client
        try:
            raw = self._connect()
        except OSError as error:
            raise TransportError(
                f"SSH on 127.0.0.1:{self.port} could not be reached: {error.strerror or error}.",
                hint="Is the machine running, and is this its SSH port?",
            ) from error
        ssh = paramiko.Transport(raw)
        self._ssh = ssh
        ssh.banner_timeout = ssh.auth_timeout = ssh.handshake_timeout = _CONNECT_SECONDS
        try:
            ssh.start_client(timeout=_CONNECT_SECONDS)
            self._expect_host_key(ssh.get_remote_server_key())
            ssh.auth_publickey(self._user, paramiko.Ed25519Key.from_private_key_file(os.fspath(self._key)))
            client = paramiko.SFTPClient.from_transport(ssh)
        except paramiko.AuthenticationException as refused:
            self.disconnect()
            raise AuthenticationFailed(
                f"SSH on 127.0.0.1:{self.port} refused the key of user '{self._user}'.",
                hint="The secrets must be those of the image that the machine was started from.",
            ) from refused
        except AuthenticationFailed:
            self.disconnect()
            raise
        if client is None:
            raise TransportError("The guest's SSH server has no SFTP subsystem.")
        channel = client.get_channel()
        if channel is not None:
            channel.settimeout(self._answer_seconds)
        self._client = client
        return client

    def execute(self, command: str, deadline: Deadline) -> None:
        """Have a command started over the connection that there is; its output and its end are not waited for.

        Raises TransportError when the server does not take it.
        """
        if self._ssh is None:
            raise TransportError("There is no SSH connection that could take a command.")
        try:
            channel = self._ssh.open_session(timeout=deadline.remaining())
            channel.exec_command(command)
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise TransportError(f"SSH on 127.0.0.1:{self.port} did not take a command: {error}.") from error

    def _expect_host_key(self, offered: paramiko.PKey) -> None:
        if offered != self._host_key:
            raise AuthenticationFailed(
                f"The SSH host key on 127.0.0.1:{self.port} is {offered.fingerprint}, "
                f"wanted {self._host_key.fingerprint}.",
                hint="The port may belong to another machine, or the image was rebuilt after the machine started.",
            )

    def disconnect(self) -> None:
        """Forget the connection; the next call makes a new one."""
        client, ssh = self._client, self._ssh
        self._client = self._ssh = None
        if ssh is not None:
            with suppress(OSError):
                ssh.sock.close()
            ssh.close()
        if client is not None:
            with suppress(OSError, EOFError):
                client.close()


def _parse_host_key(line: str) -> paramiko.PKey:
    words = line.split()
    try:
        kind, blob = words[0], base64.b64decode(words[1])
        return paramiko.PKey.from_type_string(kind, blob)
    except (IndexError, ValueError, paramiko.SSHException) as error:
        raise HostError(
            f"'{line[:60]}' is not an SSH public key.", hint="The image's secrets/ssh_host.pub is damaged."
        ) from error
