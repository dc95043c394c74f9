"""The state of every artefact on the terminal; exits with 1 where one is not current."""

from pathlib import Path

from snakemake.api import ConfigSettings, DAGSettings, OutputSettings, ResourceSettings, SnakemakeApi
from snakemake.settings.enums import Quietness

from mcqlora.errors import UserError
from mcqlora.job import job
from mcqlora.provenance import verify


def jobs(snakefile, config, npus, targets):
    """Every job of a run, done or not: Snakemake's own graph, built a second time and not executed."""
    resources = ResourceSettings(cores=1, resources={} if npus is None else {"npu": npus})
    with SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as api:
        workflow = api.workflow(
            resources, config_settings=ConfigSettings(config=config), snakefile=Path(snakefile)
        )
        dag = workflow.dag(DAGSettings(targets=targets, forceall=True))
        dag.printrulegraph()  # the least of what builds the graph; goes to the log
        return [
            verify.Job(
                made.rule.name,
                list(map(str, made.input)),
                list(map(str, made.output)),
                list(map(str, made.temp_output)),
                dict(made.params.items()),
            )
            for made in workflow._workflow.dag.jobs
            if made.output
        ]


with job(snakemake) as terminal:
    try:
        found = verify.states(jobs(**snakemake.params.graph), Path(snakemake.scriptdir))
    except SystemExit as error:  # what the rules refuse
        raise UserError(str(error.code).removeprefix("mcqlora: ")) from error
    terminal.output.write(verify.table(found))
    terminal.output.flush()
    stale = [path for path, state in found.items() if state != verify.CURRENT]
    if stale:
        raise UserError(
            f"{len(stale)} of {len(found)} artefacts are not current, {stale[0]} among them (see above); "
            "snakemake -n says what a run would make again"
        )
