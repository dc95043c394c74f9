"""One process of a training, as msrun starts it."""

from __future__ import annotations

from pathlib import Path

from mcqlora.launch.processes import enter, join


def run_worker(config_path: str) -> None:
    """One process of a training: a worker, or msrun's scheduler."""
    works = enter()
    if not works:
        # The scheduler only brings the workers together; it needs no network, so it imports no MindFormers.
        import yaml

        join(yaml.safe_load(Path(config_path).read_text())["context"]["device_target"])
        return
    import mindspore as ms
    from mindformers import MindFormerConfig, Trainer, build_context

    import mcqlora.model.decoder
    import mcqlora.train.callbacks
    import mcqlora.train.step
    import mcqlora.train.validation_rows  # noqa: F401  (these register our network, cell, metric, callback, dataset)
    from mcqlora.train.division import divided

    config = MindFormerConfig(config_path)
    build_context(config)
    if not divided():
        # The workers have met. MindFormers' preload would have them meet again, and a CPU has no Barrier.
        config.use_parallel = False
    ms.set_seed(config.seed)  # MindFormers takes seed 0 for no seed
    Trainer(config).train()
