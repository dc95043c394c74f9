"""The state of every artefact on the terminal; exits with 1 where one is not current."""

from pathlib import Path

from mcqlora.errors import UserError
from mcqlora.job import job
from mcqlora.provenance import graph, verify

with job(snakemake) as terminal:
    try:
        found = verify.states(graph.jobs(**snakemake.params.graph), Path(snakemake.scriptdir))
    except SystemExit as error:  # the rules refuse something
        raise UserError(str(error.code).removeprefix("mcqlora: ")) from error
    terminal.output.write(verify.table(found))
    terminal.output.flush()
    stale = [path for path, state in found.items() if state != verify.CURRENT]
    if stale:
        raise UserError(
            f"{len(stale)} of {len(found)} artefacts are not current, {stale[0]} among them (see above); "
            "snakemake -n says what a run would make again"
        )
