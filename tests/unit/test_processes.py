import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mcqlora.errors import UserError
from mcqlora.launch import processes


def doubled(number):
    return 2 * number, os.getpid()


def refused(number):
    raise UserError(f"row {number}: mend it")


def test_results_come_in_order_each_from_a_process_of_its_own():
    found = processes.each_in_its_own(doubled, [3, 1, 2])
    assert [value for value, _ in found] == [6, 2, 4]
    assert os.getpid() not in {process for _, process in found}


def test_a_single_one_needs_no_process():
    assert processes.each_in_its_own(doubled, [3]) == [(6, os.getpid())]
    assert processes.each_in_its_own(doubled, []) == []


@pytest.mark.parametrize("arguments", [[1], [1, 2]])
def test_an_error_comes_back_as_it_is(arguments):
    with pytest.raises(UserError, match="row 1: mend it"):
        processes.each_in_its_own(refused, arguments)


SLEEPERS = """
import os, time
from mcqlora.launch import processes
def sleep(number):
    os.write(1, f"{os.getpid()}\\n".encode())  # in one piece: two write at once
    time.sleep(300)
processes.each_in_its_own(sleep, [1, 2])
"""


def test_workers_end_with_a_killed_parent():
    environment = os.environ | {"PYTHONPATH": str(Path(processes.__file__).parents[2])}
    command = [sys.executable, "-c", SLEEPERS]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    workers = [int(parent.stdout.readline()) for _ in range(2)]
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    for _ in range(500):
        if not any(map(running, workers)):
            return
        time.sleep(0.02)
    pytest.fail(f"still running: {workers}")


def running(process):
    try:
        with open(f"/proc/{process}/stat") as file:
            return file.read().rpartition(") ")[2][0] != "Z"  # a container may have nobody who reaps
    except FileNotFoundError:
        return False
