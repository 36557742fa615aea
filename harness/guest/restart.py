"""A Windows guest that boots again at our word, and how it is known that it really did."""

from __future__ import annotations

from harness.errors import GuestError, TransportError
from harness.guest.session import Guest
from harness.steps import step
from harness.waiting import Deadline, NotYet, wait_for

_ASK_SECONDS = 20.0
_PAUSE_SECONDS = 2.0


def restart(guest: Guest, deadline: Deadline) -> str:
    """Have the guest boot again and wait until it answers with another boot id, which is given back.

    That WinRM answers proves nothing: it may still be the old Windows, going down slowly.
    Raises GuestError when the guest does not take the order, DeadlineExpired when no new boot id comes.
    """
    with step("restart the guest"):
        old = guest.boot_id()
        done = guest.run("shutdown.exe /r /f /t 0")
        if done.exit_code != 0:
            raise GuestError(
                f"Windows did not take the order to restart: {(done.stderr or done.stdout).strip() or done.exit_code}",
                command=done.command,
                exit_code=done.exit_code,
                stdout=done.stdout,
                stderr=done.stderr,
            )
        guest.abandon()

        def booted() -> str:
            try:
                new = guest.boot_id(deadline=deadline.sub(_ASK_SECONDS))
            except (TransportError, GuestError) as error:
                guest.abandon()
                raise NotYet(error.message) from error
            if new == old:
                raise NotYet("it answers with its old boot id")
            return new

        return wait_for(booted, deadline, "the guest to boot again", interval=_PAUSE_SECONDS)
