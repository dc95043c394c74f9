"""The plan on the terminal; exits with 1 where it refuses."""

import shutil

from mcqlora import files
from mcqlora.errors import UserError
from mcqlora.job import job
from mcqlora.train import plan

with job(snakemake) as terminal:
    made = files.read_json(snakemake.input[0])
    if made["machine"]["disk_gb"] is None:
        made["refusals"] += plan.disk_refusals(made, shutil.disk_usage(".").free)
    terminal.output.write(plan.table(made))
    terminal.output.flush()
    if made["refusals"]:
        others = len(made["refusals"]) - 1
        raise UserError(made["refusals"][0] + (f" (and {others} more, see above)" if others else ""))
