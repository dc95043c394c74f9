"""One process of an evaluation, started by msrun: `evaluation_worker.py WORKERS.json`."""

import sys

from mcqlora.evaluate.tasks import run_worker

run_worker(sys.argv[1])
