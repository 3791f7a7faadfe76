"""Runs as a script between a parent and its child: ties the child's life to the parent, then execs.

`python -I -S launch.py SIGNAL PARENT COMMAND...`: the kernel sends SIGNAL (a number) to COMMAND
when the thread that started it ends (prctl(2), PR_SET_PDEATHSIG; Linux only, elsewhere nothing is
tied). A separate script because code between fork and exec is unsafe in a process with threads.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(death_signal: int, parent: int, command: list[str]) -> None:
    """Replaces this process by `command`; raises OSError when that is impossible."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
        if os.getppid() != parent:  # it died before the line above
            os.kill(os.getpid(), signal.SIGKILL)
    os.execv(command[0], command)  # noqa: S606 - no shell, the caller's own command


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
