"""Processes beside this one that end with it."""

from __future__ import annotations

import ctypes
import multiprocessing
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

T, R = TypeVar("T"), TypeVar("R")


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent ends, so that no orphan goes on writing (Linux)."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, signal.SIGKILL)


def each_in_its_own(function: Callable[[T], R], arguments: Sequence[T]) -> list[R]:
    """`[function(argument) for argument in arguments]`, each in a process of its own; a single one in this.

    Processes inherit function and arguments; results must pickle. The first error is raised here, when all
    have ended.
    """
    if len(arguments) < 2:
        return [function(argument) for argument in arguments]
    fork, told = multiprocessing.get_context("fork"), (function, arguments)
    with ProcessPoolExecutor(len(arguments), fork, initializer=_inherit, initargs=told) as pool:
        return list(pool.map(_call, range(len(arguments))))


def _inherit(function: Callable, arguments: Sequence) -> None:
    global _inherited
    die_with_parent()
    _inherited = function, arguments


def _call(index: int) -> object:
    function, arguments = _inherited
    return function(arguments[index])
