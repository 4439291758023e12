"""Looking at processes, for tests.

Belongs here: finding processes by their command. Does not belong here: ending what a killed session left (caretaker.py).
"""

from __future__ import annotations

import psutil


def children_running(module: str) -> list[psutil.Process]:
    """Returns the processes that this one started and whose command names `module`."""
    return [child for child in psutil.Process().children() if module in command_line(child)]


def command_line(process: psutil.Process) -> str:
    """Returns the command of a process; nothing for one that has ended, though nobody may have asked for its end yet."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""
