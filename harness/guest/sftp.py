"""Files over SFTP: pinned host key, a temporary name until the content is verified, resumed once when cut."""

from __future__ import annotations

import hashlib
import threading
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import paramiko

from harness.errors import AuthenticationFailed, HostError, TransportError
from harness.guest.ssh import Connect, SshConnection
from harness.guest.transport import ProgressCallback
from harness.steps import note
from harness.waiting import Deadline, NotYet, wait_for

T = TypeVar("T")

_CHUNK = 32768  # the largest block that every SFTP server has to take
_ANSWER_SECONDS = 15.0
_SMALL = 64 << 20

RemoteHash = Callable[[str], str | None]


class SftpTransport:
    """Moves files to and from the guest over one SSH connection, which is made when first needed."""

    def __init__(
        self,
        *,
        port: int,
        user: str,
        key: Path,
        host_key: str,
        remote_hash: RemoteHash | None = None,
        connect: Connect | None = None,
        answer_seconds: float = _ANSWER_SECONDS,
    ) -> None:
        """`host_key` is the pinned key as in a .pub file; `remote_hash` asks the guest for a file's SHA-256.

        Without `remote_hash`, or when it gives None, a file is verified by reading it back.
        """
        self._port = port
        self._connection = SshConnection(
            port=port, user=user, key=key, host_key=host_key, connect=connect, answer_seconds=answer_seconds
        )
        self._remote_hash = remote_hash
        self._lock = threading.RLock()  # one transfer at a time
        self.blocks = 0  # moved so far, either way

    def put(self, local: Path, remote: str, *, progress: ProgressCallback | None = None) -> str:
        """Copy a file into the guest, verified, and give back its SHA-256.

        The file appears under its own name only when its content is right. A cut connection is resumed once.
        Raises TransportError when that was not enough; nothing partial is left behind where the guest can be reached.
        """
        try:
            content = local.read_bytes()
        except OSError as error:
            raise HostError(f"'{local}' could not be read: {error.strerror}.") from error
        wanted = hashlib.sha256(content).hexdigest()
        partial = f"{remote}.{uuid.uuid4().hex[:8]}.part"
        with self._lock:
            try:
                self._resumed(lambda: self._send(content, partial, progress), f"sending '{local.name}'")
                found = self._resumed(lambda: self._hash_of(partial, len(content)), f"verifying '{remote}'")
                _expect_hash(remote, found=found, wanted=wanted)
                self._resumed(lambda: self._rename(partial, remote), f"renaming '{partial}'")
            except BaseException:
                with suppress(TransportError):
                    self.remove(partial)
                raise
        return wanted

    def get(self, remote: str, local: Path, *, progress: ProgressCallback | None = None) -> str:
        """Copy a file out of the guest and give back its SHA-256; a cut connection is resumed once."""
        partial = local.with_name(local.name + ".part")
        with self._lock:
            try:
                partial.write_bytes(b"")
                self._resumed(lambda: self._fetch(remote, partial, progress), f"fetching '{remote}'")
                partial.replace(local)
            finally:
                partial.unlink(missing_ok=True)
        with local.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def read(self, remote: str) -> bytes:
        """Content of a small file in the guest; raises TransportError for one of more than 64 MiB."""

        def fetch() -> bytes:
            content = bytearray()
            with self._connection.sftp().open(remote, "rb") as source:
                while piece := source.read(_CHUNK):
                    content += piece
                    if len(content) > _SMALL:
                        raise TransportError(f"'{remote}' in the guest has more than {_SMALL} bytes.")
            return bytes(content)

        with self._lock:
            return self._resumed(fetch, f"reading '{remote}'")

    def remove(self, remote: str) -> None:
        """Delete a file in the guest; one that does not exist is no error."""

        def delete() -> None:
            with suppress(FileNotFoundError):
                self._connection.sftp().remove(remote)

        with self._lock:
            self._resumed(delete, f"removing '{remote}'")

    def make_folder(self, remote: str) -> None:
        """Make a folder in the guest; one that exists is no error."""

        def make() -> None:
            try:
                self._connection.sftp().mkdir(remote)
            except OSError:
                self._connection.sftp().stat(remote)

        with self._lock:
            self._resumed(make, f"making the folder '{remote}'")

    def list_folder(self, remote: str) -> list[str]:
        """Names in a folder of the guest."""
        with self._lock:
            return sorted(self._resumed(lambda: self._connection.sftp().listdir(remote), f"listing '{remote}'"))

    def shell(self, command: str, deadline: Deadline) -> None:
        """Have the guest's own shell start a command; its output and its end are not waited for.

        Raises TransportError when the guest does not take it.
        """
        with self._lock:
            self._connection.sftp()
            self._connection.execute(command, deadline)

    def wait_until_ready(self, deadline: Deadline) -> None:
        """Wait until the guest's SSH server lets us in.

        Raises AuthenticationFailed at once; DeadlineExpired with the last error when it never answers.
        """

        def attempt() -> bool:
            try:
                self._connection.sftp()
            except AuthenticationFailed:
                raise
            except (TransportError, paramiko.SSHException, OSError, EOFError) as error:
                self.disconnect()
                raise NotYet(str(error) or type(error).__name__) from error
            return True

        with self._lock:
            wait_for(attempt, deadline, f"SSH on 127.0.0.1:{self._port}", interval=0.1)

    def disconnect(self) -> None:
        """Forget the connection; the next call makes a new one. To be called after a revert."""
        self._connection.disconnect()

    def close(self) -> None:
        """Let go of the connection."""
        self.disconnect()

    def __enter__(self) -> SftpTransport:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _resumed(self, work: Callable[[], T], doing: str) -> T:
        """Do `work`; when the connection is cut in it, connect anew and do it once more."""
        for is_last in (False, True):
            try:
                return work()
            except AuthenticationFailed:
                raise
            except (EOFError, OSError, paramiko.SSHException, _Cut) as error:
                reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
                if not _is_cut(error):
                    raise TransportError(f"SFTP failed while {doing}: {reason}.") from error
                self.disconnect()
                if is_last:
                    raise TransportError(
                        f"The SFTP connection to 127.0.0.1:{self._port} was cut twice while {doing} ({reason})."
                    ) from error
                note("SFTP connection cut, resuming", doing=doing)
        raise AssertionError("the loop returns or raises")

    def _send(self, content: bytes, partial: str, progress: ProgressCallback | None) -> None:
        sftp = self._connection.sftp()
        done = 0
        with suppress(FileNotFoundError):
            done = min(sftp.stat(partial).st_size or 0, len(content))
        with sftp.open(partial, "r+b" if done else "wb") as out:
            # Not pipelined: each block is answered, so that after a cut the size of the file says where to go on.
            out.seek(done)
            while True:
                if progress is not None:
                    progress(done, len(content))
                if done >= len(content):
                    break
                out.write(content[done : done + _CHUNK])
                done = min(done + _CHUNK, len(content))
                self.blocks += 1

    def _fetch(self, remote: str, partial: Path, progress: ProgressCallback | None) -> None:
        sftp = self._connection.sftp()
        size = sftp.stat(remote).st_size or 0
        with partial.open("ab") as into, sftp.open(remote, "rb") as source:
            done = into.tell()
            source.seek(done)
            while True:
                if progress is not None:
                    progress(done, size)
                piece = source.read(_CHUNK)
                if not piece:
                    break
                done += len(piece)
                if done > size:  # a guest that lies about it could fill the disk
                    raise TransportError(f"'{remote}' goes on behind its {size} bytes.", hint="It is being written to.")
                into.write(piece)
                self.blocks += 1
        if done < size:
            raise _Cut(f"'{remote}' ended after {done} of {size} bytes")

    def _hash_of(self, remote: str, wanted: int) -> str:
        known = self._remote_hash(remote) if self._remote_hash is not None else None
        if known is not None:
            return known
        digest = hashlib.sha256()
        with self._connection.sftp().open(remote, "rb") as source:
            size = source.stat().st_size or 0
            if size != wanted:  # which is the guest's word: nothing is asked for by it
                raise TransportError(f"'{remote}' has {size} bytes in the guest, wanted {wanted}.")
            source.prefetch(size)
            while piece := source.read(_CHUNK):
                digest.update(piece)
        return digest.hexdigest()

    def _rename(self, partial: str, remote: str) -> None:
        sftp = self._connection.sftp()
        try:
            sftp.posix_rename(partial, remote)
        except OSError:
            # A server without the posix-rename extension refuses to replace a file.
            with suppress(FileNotFoundError):
                sftp.remove(remote)
            sftp.rename(partial, remote)


def _expect_hash(remote: str, *, found: str, wanted: str) -> None:
    if found != wanted:
        raise TransportError(
            f"'{remote}' arrived in the guest with SHA-256 {found[:16]}…, wanted {wanted[:16]}….",
            hint="The guest's disk may be full or damaged.",
        )


def _is_cut(error: Exception) -> bool:
    """Whether the connection went away; an OSError may also be the server's refusal of what was asked."""
    if isinstance(error, OSError) and not isinstance(error, TimeoutError | ConnectionError):
        return str(error) == "Socket is closed"  # paramiko's word, of a plain OSError
    return True


class _Cut(Exception):
    """A transfer ended before its end."""
