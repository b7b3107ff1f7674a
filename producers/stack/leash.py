"""Starts a program that must not outlive the command it belongs to: `leash.py PARENT_PID [--poll] -- PROGRAM ...`.

On Linux the kernel is asked to kill this process when its parent ends, and the program takes its place under the
same pid. The kernel means the *thread* that started it: whoever uses the leash must start programs from a thread
that lives as long as they do. Elsewhere the leash stays between the two and looks twice a second who its parent is.

Run as a file, with `python -I -S`: it imports nothing but the standard library.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from types import FrameType

PR_SET_PDEATHSIG = 1
"""From the kernel's `linux/prctl.h`."""
ORPHANED = 71
NOT_STARTED = 127
"""As a shell says it."""
POLL_S = 0.5


def tie_to_parent(parent: int) -> bool:
    """Ask the kernel to kill this process when its parent ends; False where it cannot be asked.

    Raises:
        SystemExit: the parent has ended already.
    """
    try:
        prctl = ctypes.CDLL(None).prctl
    except (AttributeError, OSError):
        return False
    if prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        return False
    if os.getppid() != parent:
        raise SystemExit(ORPHANED)
    return True


def watch(parent: int, argv: Sequence[str]) -> int:
    """Run the program, pass SIGTERM and SIGINT on to it, kill it once the parent has ended; return its exit code."""
    with subprocess.Popen(argv) as program:  # noqa: S603 - a list, no shell
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _passing_on(program))
        while True:
            try:
                code = program.wait(timeout=POLL_S)
            except subprocess.TimeoutExpired:
                if os.getppid() != parent:
                    program.kill()
                    return ORPHANED
            else:
                return code if code >= 0 else 128 - code


def _passing_on(program: subprocess.Popen[bytes]) -> Callable[[int, FrameType | None], None]:
    def pass_on(number: int, _frame: FrameType | None) -> None:
        program.send_signal(number)

    return pass_on


def main(arguments: Sequence[str]) -> int:
    """Run what the command line says; the exit code is the program's, or 71 where the parent is gone."""
    split = arguments.index("--")
    parent, argv = int(arguments[0]), list(arguments[split + 1 :])
    try:
        if "--poll" not in arguments[:split] and tie_to_parent(parent):
            os.execvp(argv[0], argv)  # noqa: S606 - a list, no shell
        return watch(parent, argv)
    except OSError as error:
        sys.stderr.write(f"{argv[0]} cannot be started: {error.strerror}\n")
        return NOT_STARTED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
