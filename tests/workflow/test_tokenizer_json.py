"""A tokenizer.json with a chat template goes through the data half: rows in its own turns."""

import pytest

from mcqlora import files
from mcqlora.tokens import prompt, tokenizer
from tests.helpers.fast_tokenizers import CHATML, write
from tests.helpers.runs import snakemake
from tests.helpers.shards import read_rows
from tests.unit.test_chat import CHAT, THINKING

pytestmark = pytest.mark.integration


def test_rows_are_in_the_turns_of_the_chat_template(tmp_path):
    given = write(tmp_path / "own", added=["<think>", "</think>"], special=CHATML, **CHAT)
    (tmp_path / "own" / "chat_template.jinja").write_text(THINKING)
    results, shard = tmp_path / "results" / "tiny", "mindrecord/valid/shard-0-of-1.mindrecord"
    settings = ["tokenizer={path: own/tokenizer.json}", "encode={seq_length: 400}"]
    done = snakemake(tmp_path, "--cores", "2", "--config", *settings, "--", f"results/tiny/{shard}")
    assert done.returncode == 0, done.stderr[-3000:]
    assert (
        "mcqlora: tokenizer.template: thinking, for which the chat template has a switch, is off"
        in done.stderr
    )
    assert (results / "tokenizer.json").read_bytes() == given.read_bytes()
    assert files.read_json(results / "tokenizer_config.json")["chat_template"] == THINKING

    found = tokenizer.load(results / "tokenizer.json")
    template = prompt.template(found)
    records = list(files.read_json_array(results / "splits" / "valid.json"))
    rows = list(read_rows([results / shard]))
    assert len(rows) == len(records)
    for record, row in zip(records[:5], rows, strict=False):
        texts = (record["instruction"], record["input"], record["output"])
        ids, n_prompt = prompt.row_ids(found.encode, template, *texts)
        assert row["input_ids"].tolist() == ids + [template.pad] * (400 - len(ids))
        labels = [-100] * n_prompt + ids[n_prompt:] + [-100] * (400 - len(ids))
        assert row["labels"].tolist() == labels
        assert ids[-1] == found.id_of("<|im_end|>")
