"""The base that is trained here. Its training runs in tests/workflow."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from mcqlora.errors import UserError
from mcqlora.train import pretrain, settings
from tests.helpers.networks import INTERNLM_7B


def test_what_no_npu_can_train_is_refused_before_it_begins(monkeypatch):
    monkeypatch.setattr(pretrain.tokenizer, "load", lambda path: SimpleNamespace(vocab_size=lambda: 103_168))
    monkeypatch.setattr(pretrain.prompt, "plain", lambda processor: None)
    monkeypatch.setattr(pretrain.segments, "SegmentEncoder", lambda processor: None)
    optimization = settings.Optimization(**pretrain.OPTIMIZATION, learning_rate=1e-3, seed=0)
    asked = settings.Settings(
        network=INTERNLM_7B,
        lora=None,
        optimization=optimization,
        size=settings.Size(rows=None, workers=1, batch_size=1, epochs=1),
        seq_length=1_024,
        device="Ascend",
    )
    with pytest.raises(
        UserError, match=r"^base: no base.path is given, .* 87.9 GB, of the 58 .*; give base.path$"
    ):
        pretrain.build(corpus=Path(), tokenizer_path="", output=Path(), settings=asked, launch=None)
