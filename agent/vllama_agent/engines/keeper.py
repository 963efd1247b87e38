"""The parent of every child process: ends the whole tree when the agent is gone, whatever killed it.

Started as a script with the standard library only: ``python -I -S keeper.py PIPE_FD KEEP_FDS NICENESS -- COMMAND…``. PIPE_FD is the
read end of a pipe whose write end only the agent has: end of file means that the agent is dead or wants an end at once, a byte that it
asks the command to end by itself. PDEATHSIG alone would not do, as it is cleared on fork and reaches no grandchild; on Linux the keeper is
also a subreaper, so orphaned grandchildren become its own.
KEEP_FDS (comma-separated) stay open for the command. NICENESS says how far it gives way to others, 0 to 19.
"""

import ctypes
import functools
import os
import select
import signal
import subprocess
import sys
import time

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
LINUX = sys.platform == "linux"
LINGER_SECONDS = 1.0
"""How long children of a command that ended by itself may live on: vLLM's remove shared memory that else stays until a reboot."""

AUTOGROUP_TRIES, AUTOGROUP_SECONDS = 3, 0.1
"""Linux takes one change in so many seconds, whoever asks."""


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def _children(pid: int) -> list[int]:
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            return [int(child) for child in file.read().split()]
    except OSError:
        return []


def _kill_tree(pid: int) -> None:
    for child in _children(pid):
        _kill_tree(child)
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _linger() -> None:
    """Until the rest has ended by itself, or the time is over."""
    until = time.monotonic() + LINGER_SECONDS
    while _children(os.getpid()) and time.monotonic() < until:
        try:
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                time.sleep(0.02)
        except ChildProcessError:
            return


def _end(child: "subprocess.Popen[bytes]") -> None:
    """Kill everything below us until nothing is left."""
    if LINUX:
        while children := _children(os.getpid()):
            for pid in children:
                _kill_tree(pid)
                try:
                    os.waitpid(pid, 0)
                except ChildProcessError:
                    continue
    else:
        # the child began a session, so its group is all that it started; macOS says EPERM of a group of which only zombies are left
        try:
            os.killpg(child.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            return


def _give_way(niceness: int) -> None:
    """Compute when others do not. Linux may share its time between sessions first: there a process's niceness counts within its own only.

    https://man7.org/linux/man-pages/man7/sched.7.html, "The autogroup feature"
    """
    os.nice(niceness)
    for _ in range(AUTOGROUP_TRIES):
        try:
            with open("/proc/self/autogroup", "w") as file:
                file.write(str(niceness))
            return
        except BlockingIOError:
            time.sleep(AUTOGROUP_SECONDS)
        except OSError:  # not Linux, or it shares its time otherwise
            return


def _become_child(niceness: int) -> None:
    """In the child, before it is the command, in a session of its own."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # what is ignored stays ignored in a new program, which could not be asked to end
    if LINUX:  # if somebody kills the keeper itself, its direct child goes too
        _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if niceness:
        _give_way(niceness)


def main() -> int:
    pipe = int(sys.argv[1])
    keep = tuple(int(fd) for fd in sys.argv[2].split(",") if fd)
    niceness, command = int(sys.argv[3]), sys.argv[5:]
    # the agent decides about the end; a Ctrl-C on its terminal is its business
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    if LINUX:
        _prctl(PR_SET_CHILD_SUBREAPER, 1)
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))  # the agent gives way to engines; they do not
    become = functools.partial(_become_child, niceness)
    child = subprocess.Popen(command, pass_fds=keep, start_new_session=True, preexec_fn=become, restore_signals=True)
    for fd in keep:
        os.close(fd)
    while child.poll() is None:
        ready, _, _ = select.select([pipe, woken], [], [])
        if pipe in ready:
            if not os.read(pipe, 64):
                break
            child.terminate()
        if woken in ready:
            os.read(woken, 64)
    code = child.poll()
    if code is not None:
        _linger()
    _end(child)
    return code if code is not None and code >= 0 else 128 - (code or -signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
