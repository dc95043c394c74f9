"""Child processes that end with this one."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")
_inherited: tuple[Callable[[Any], Any], Sequence[Any]]  # in a process of `each_in_its_own`


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent ends, so that no orphan goes on writing (Linux)."""
    pr_set_pdeathsig = 1  # prctl(2)
    ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, signal.SIGKILL)


def enter() -> bool:
    """What every launched process does first; False in msrun's scheduler, True in a worker."""
    die_with_parent()
    print(f"mcqlora: process {os.getpid()}", flush=True)  # `msrun` looks for it
    return os.environ.get("MS_ROLE") != "MS_SCHED"


def join(device: str, **context: Any) -> None:
    """Meet the other processes of this msrun on `device`; its scheduler waits here for their end.

    msrun's DEVICE_ID is a worker's number on its machine. `context` is what else `mindspore.set_context` is
    to be told before the device is in use: its memory cannot be limited later.
    """
    import mindspore as ms
    from mindspore.communication import init

    own = {"device_id": int(os.environ["DEVICE_ID"])} if "DEVICE_ID" in os.environ else {}
    ms.set_context(device_target=device, **own, **context)
    init()


def each_in_its_own(function: Callable[[T], R], arguments: Sequence[T]) -> list[R]:
    """`[function(argument) for argument in arguments]`, each in a process of its own; a single one here.

    The processes inherit function and arguments; results are pickled.

    Raises:
        Exception: what the first failed call raised, when all have ended.
    """
    if len(arguments) < 2:
        return [function(argument) for argument in arguments]
    fork, told = multiprocessing.get_context("fork"), (function, arguments)
    with ProcessPoolExecutor(len(arguments), fork, initializer=_inherit, initargs=told) as pool:
        return list(pool.map(_call, range(len(arguments))))


def _inherit(function: Callable[[Any], Any], arguments: Sequence[Any]) -> None:
    global _inherited
    die_with_parent()
    _inherited = function, arguments


def _call(index: int) -> Any:
    function, arguments = _inherited
    return function(arguments[index])
