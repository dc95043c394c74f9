"""What this machine can run, on the terminal; exits with 1 if that is no training, or none on its NPUs."""

from pathlib import Path

from mcqlora.errors import UserError
from mcqlora.job import job
from mcqlora.machine import doctor

with job(snakemake) as terminal:
    found = []
    for check in doctor.checks(Path(doctor.__file__).parents[3], Path.cwd()):
        terminal.output.write(doctor.line(check))
        terminal.output.flush()
        found.append(check)
    if not doctor.ready(found):
        raise UserError(doctor.verdict(found))
    terminal.output.write(doctor.verdict(found) + "\n")
