"""One process of a training, started by msrun: `worker.py CONFIG.yaml`."""

import sys

from mcqlora.train.worker import run_worker

run_worker(sys.argv[1])
