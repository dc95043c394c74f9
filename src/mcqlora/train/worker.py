"""One process of a training, as msrun starts it."""

from __future__ import annotations

from pathlib import Path

from mcqlora.launch.processes import enter


def run_worker(config_path: str) -> None:
    """One process of a training: a worker, or msrun's scheduler."""
    works = enter()
    import mindspore as ms

    if not works:
        # The scheduler only brings the workers together; it needs no network, so it imports no MindFormers.
        import yaml
        from mindspore.communication import init

        config = yaml.safe_load(Path(config_path).read_text())
        ms.set_context(device_target=config["context"]["device_target"])
        init()
        return
    from mindformers import MindFormerConfig, Trainer, build_context

    import mcqlora.model.decoder
    import mcqlora.train.callbacks
    import mcqlora.train.step  # noqa: F401  (registers our network, cell, metric and callback)

    config = MindFormerConfig(config_path)
    build_context(config)
    ms.set_seed(config.seed)  # MindFormers 1.6.0 takes seed 0 for no seed
    Trainer(config).train()
