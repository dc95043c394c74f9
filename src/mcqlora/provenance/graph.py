"""Every job of a run, done or not, as Snakemake would give it now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mcqlora.provenance.record import Job


def jobs(snakefile: str, config: Mapping[str, Any], npus: int | None, targets: Sequence[str]) -> list[Job]:
    """The jobs that make an artefact of `targets`: Snakemake's own graph, built anew and not executed.

    Raises:
        SystemExit: the rules refuse something; its code is the line that says what.
    """
    from snakemake.api import ConfigSettings, DAGSettings, OutputSettings, ResourceSettings, SnakemakeApi
    from snakemake.settings.enums import Quietness

    resources = ResourceSettings(cores=1, resources={} if npus is None else {"npu": npus})
    with SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as api:
        workflow = api.workflow(
            resources, config_settings=ConfigSettings(config=config), snakefile=Path(snakefile)
        )
        dag = workflow.dag(DAGSettings(targets=set(targets), forceall=True))
        dag.printrulegraph()  # the least of what builds the graph; goes to the log
        return [
            Job(
                made.rule.name,
                list(map(str, made.input)),
                list(map(str, made.output)),
                dict(made.params.items()),
                list(map(str, made.temp_output)),
            )
            for made in workflow._workflow.dag.jobs
            if made.output
        ]
