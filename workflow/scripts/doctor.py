"""What this machine can run, on the terminal; exits with 1 if that is not even the demo."""

from pathlib import Path

from mcqlora import doctor
from mcqlora.cli import job
from mcqlora.errors import UserError

with job(snakemake) as terminal:
    found = []
    for check in doctor.checks(Path(doctor.__file__).parents[2], Path.cwd()):
        terminal.output.write(doctor.line(check))
        terminal.output.flush()
        found.append(check)
    if any(check.state == doctor.BAD for check in found):
        raise UserError(doctor.verdict(found))
    terminal.output.write(doctor.verdict(found) + "\n")
