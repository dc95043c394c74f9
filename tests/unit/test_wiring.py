import ast
import inspect
from pathlib import Path

import pytest

from mcqlora import demo
from mcqlora.config import checks, loading, params
from mcqlora.data import alpaca, ledger, readers, splits
from mcqlora.errors import UserError
from mcqlora.evaluate import model, tasks
from mcqlora.interop import export, huggingface, mindformers
from mcqlora.train import finetune, plan, pretrain

ROOT = Path(__file__).parents[2]
SCHEMA = loading.read_yaml(ROOT / "workflow" / "schemas" / "config.schema.yaml")


def settings(**changes):
    """The checked default with changes: `train__workers=4` is train.workers."""
    made = loading.read_yaml(ROOT / "config.yaml")
    for key, value in changes.items():
        *section, last = key.split("__")
        (made[section[0]] if section else made)[last] = value
    return loading.check(made, SCHEMA)


def given(**changes):
    """The same for data that is not generated."""
    ours = {"data": "folder", "tokenizer__path": "tokenizer.model", "base__text": "train"}
    return settings(**(ours | changes))


def test_the_default_passes():
    for made in (settings(), given()):
        checks.check(made)
        for part in ("base", "train"):
            checks.check_npus(made, part, 2)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (given(tokenizer__path=None), r"^tokenizer.path: not set"),
        (given(data="./benchmarks/x"), r"^data: ./benchmarks/x is where the jobs' times are written"),
        (given(tokenizer__path="https://[x/t.model"), r"^tokenizer.path: no address can be read in it"),
        (
            given(base__path="https://h/net", base__sha256={"tokenizer.model": "0" * 64}),
            r"^base.sha256: tokenizer.model is not of the base where tokenizer.path is set",
        ),
        (given(base__text="corpus"), r"^base.text: only the generated benchmark has a corpus"),
        (settings(model__hidden_size=130), r"^model.hidden_size: 130 is no multiple of num_heads 4"),
        (settings(model__n_kv_heads=3), r"^model.n_kv_heads: 3 does not divide num_heads 4$"),
        (
            settings(evaluate__protocol="harness", evaluate__shots=[5]),
            r"^evaluate.shots: harness, the headline, is asked without worked examples; add 0$",
        ),
        (
            settings(train__target_modules="q_proj|v_proj"),
            r"^train.target_modules: 'q_proj\|v_proj' matches none of the network's cells wq, wk, wv, wo, w1",
        ),
        (
            settings(train__target_modules=".*"),
            r"^train.target_modules: '.\*' matches none of the network's cells wq",
        ),
        (
            settings(train__target_modules="(.*wq"),
            r"^train.target_modules: '\(\.\*wq' is no regular expression \(missing \)",
        ),
        (
            settings(train__workers=4, train__nodes=3),
            r"^train.workers: 4 cannot be spread evenly over train.nodes 3; make it a multiple$",
        ),
        (
            settings(shuffle__option_references={"en": {"place": ["("]}}),
            r"^shuffle.option_references: en: '\(': missing \)",
        ),
    ],
)
def test_what_no_schema_can_say(changed, message):
    with pytest.raises(UserError, match=message) as error:
        checks.check(changed)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("part", ["base", "train"])
def test_workers_are_limited_by_the_profile_where_it_says_a_number(part):
    made = settings(**{f"{part}__workers": 4})
    for enough in (4, 8, None):
        checks.check_npus(made, part, enough)
    with pytest.raises(
        UserError, match=rf"^{part}.workers is 4, but the profile has 2 npu; .*npu=4"
    ) as error:
        checks.check_npus(made, part, 2)
    assert "\n" not in str(error.value)


def test_the_profiles_npus_are_those_of_one_machine():
    made = settings(train__workers=8, train__nodes=2)
    checks.check_npus(made, "train", 4)
    with pytest.raises(
        UserError, match=r"^train.workers is 8 on 2 nodes, but the profile has 2 npu; .*npu=4"
    ):
        checks.check_npus(made, "train", 2)
    assert params.plan(made, 4)["machine"]["devices"] == 8
    assert params.plan(made, None)["machine"]["devices"] is None


@pytest.mark.parametrize(
    ("device", "gres", "npu", "asked"),
    [
        ("CPU", None, 4, ""),
        ("CPU", "npu", 4, "npu:4"),
        ("Ascend", None, 4, "npu:4"),
        ("Ascend", "ascend:910b", 2, "ascend:910b:2"),
        ("Ascend", None, 0, ""),
    ],
)
def test_what_slurm_is_asked_for(device, gres, npu, asked):
    assert params.gres(settings(device=device, gres=gres), npu) == asked


def test_the_plans_devices_are_those_of_the_machine_or_of_the_profile():
    assert params.plan(settings(), 2)["machine"]["devices"] == 2
    assert params.plan(settings(plan__devices=8), 2)["machine"]["devices"] == 8


def test_reference_implies_its_defects():
    made = settings(recipe="reference")
    checks.check(made)
    assert made["split"] == "recipe"
    assert params.reading(made) == {"on_bad_row": "fail", "first_row_lost": True, "pandas_na": True}
    assert params.screening(made) == {"drop_identical_options": False, "drop_contradictory": False}
    assert params.shuffling(made) == {"seed": 42} | checks.REFERENCE["shuffle"]
    assert (params.layout(made, "train"), params.edge(made, "train")) == ("padded", "reference")
    assert params.evaluate(made)["reference_template"] is True
    assert params.train(made)["reference_template"] is True


SWITCHES = [
    (section, name)
    for section, value in checks.REFERENCE.items()
    for name in (value if isinstance(value, dict) else [None])
]


@pytest.mark.parametrize(("section", "name"), SWITCHES)
def test_a_named_switch_wins_over_the_recipe(section, name):
    honest = settings()[section]
    named = {section: {name: honest[name]} if name else honest}
    made = settings(recipe="reference")
    checks.check(made, {"recipe": "reference"} | named)
    expected = settings(recipe="reference")
    checks.check(expected)
    if name:
        assert made[section] == expected[section] | {name: honest[name]} != expected[section]
    else:
        assert made[section] == honest != expected[section]
    assert all(made[other] == expected[other] for other in made if other != section)


def test_an_empty_section_names_nothing():
    made = settings(recipe="reference")
    checks.check(made, {"read": None})
    assert made["read"]["first_row_lost"] is True


def test_the_reference_overlay_names_every_switch():
    overlay = loading.read_yaml(ROOT / "config" / "reference-4npu.yaml")
    for section, value in checks.REFERENCE.items():
        named = overlay[section]
        assert named == value if not isinstance(value, dict) else named | value == named


def test_corrected_has_none_of_them():
    made = settings()
    checks.check(made)
    assert made["split"] == "question"
    assert params.reading(made) == {"on_bad_row": "fail", "first_row_lost": False, "pandas_na": False}
    assert params.screening(made) == {"drop_identical_options": True, "drop_contradictory": True}
    assert params.shuffling(made) == {
        "seed": 42,
        "pin_references": True,
        "balance_letters": True,
        "reparse_options": False,
    }
    assert params.edge(made, "train") == params.edge(made, "valid") == "corrected"
    assert params.evaluate(made)["reference_template"] is False


def test_the_headline_is_one_of_the_protocols():
    with pytest.raises(
        UserError, match=r"^evaluate.protocol: letter, the headline, is not in .* add it there"
    ):
        checks.check(settings(evaluate__protocol="letter", evaluate__protocols=["answer"]), 2)


def test_a_split_that_leaks_needs_no_leak_items():
    assert params.evaluate(settings())["choosing"]["leak_items"] > 0
    assert params.evaluate(settings(split="recipe"))["choosing"]["leak_items"] == 0


def test_a_given_tokenizer_has_its_own_size():
    assert params.tokenizer(settings(tokenizer__path="a", tokenizer__vocab_size=300)) == {
        "path": "a",
        "vocab_size": None,
    }
    assert params.tokenizer(settings(tokenizer__vocab_size=300)) == {"path": None, "vocab_size": 300}


def test_the_evaluation_of_the_base_knows_nothing_of_lora():
    assert params.evaluate(settings(train__lora_rank=3), False) == params.evaluate(settings(), False)
    assert params.evaluate(settings(train__lora_rank=3)) != params.evaluate(settings())


def test_the_headline_is_no_business_of_the_evaluation():
    assert params.evaluate(settings()) == params.evaluate(settings(evaluate__protocol="letter"))


def test_packed_rows_are_for_training_alone():
    made = settings(encode__layout="packed", encode__mask_full_rows=True)
    checks.check(made, 2)
    assert (params.layout(made, "train"), params.layout(made, "valid")) == ("packed", "padded")
    assert (params.edge(made, "train"), params.edge(made, "valid")) == ("corrected", "reference")
    assert params.train(made)["layout"] == "packed"


def test_packed_rows_cannot_be_truncated():
    with pytest.raises(UserError, match=r"^encode.on_long: truncate .*set encode.on_long: drop"):
        checks.check(settings(encode__layout="packed", encode__on_long="truncate"), 2)


def test_rows_are_one_longer_in_training():
    made = settings(encode__seq_length=1024)
    assert params.row_size(made, "train") == 1025
    assert params.row_size(made, "valid") == 1024


def test_a_given_base_brings_its_tokenizer():
    made = given(base__path="llama", base__text="corpus", tokenizer__path=None)
    checks.check(made, 2)
    assert made["tokenizer"]["path"] == "llama/tokenizer.model"
    named = given(base__path="llama", tokenizer__path="other.model")
    checks.check(named, 2)
    assert named["tokenizer"]["path"] == "other.model"


def test_the_files_of_a_given_base(tmp_path):
    folder = tmp_path / "llama"
    folder.mkdir()
    made = given(data=str(tmp_path), base__path="llama")
    for name, missing in (
        ("config.json", "config.json: no such file"),
        ("model.safetensors", "no model.saf"),
    ):
        with pytest.raises(UserError, match=missing):
            params.base_files(made, "downloads")
        (folder / name).touch()
    assert params.base_files(made, "downloads") == [
        str(folder / "config.json"),
        str(folder / "model.safetensors"),
    ]
    assert params.peft_base(made, "downloads", "exported") == str(folder)


def test_a_base_that_is_trained_here_has_no_files():
    assert params.base_files(settings(), "downloads") == []
    assert params.peft_base(settings(), "downloads", "exported") == "exported"


def test_a_given_base_stands_below_the_working_directory_where_the_benchmark_is_generated():
    made = settings(base__path="llama")
    assert params.base_folder(made, "downloads") == Path("llama")
    with pytest.raises(UserError, match=r"^base\.path: there is no folder llama"):
        params.base_files(made, "downloads")


def test_nothing_is_watched_for_the_generated_benchmark():
    assert params.benchmark_inputs(settings()) == []
    with pytest.raises(UserError, match="there is no folder"):
        params.benchmark_inputs(given(data="not-there"))


def test_the_recipes_numbers_reach_the_training():
    overlay = loading.read_yaml(ROOT / "config" / "reference-4npu.yaml")
    made = loading.check(loading.read_yaml(ROOT / "config.yaml") | overlay, SCHEMA)
    train = params.train(made)
    assert train["lora"] == {
        "rank": 16,
        "alpha": 32,
        "dropout": 0.05,
        "target_modules": ".*wq|.*wk|.*wv|.*wo",
    }
    assert train["optimization"] == {
        "betas": [0.9, 0.999],
        "eps": 1e-8,
        "learning_rate": 5e-5,
        "warmup_ratio": 0.03,
        "weight_decay": 0.01,
        "loss_scale": 16384,
        "max_grad_norm": 1.0,
        "seed": 0,
    }
    expected = {"workers": 4, "batch_size": 4, "epochs": 4, "evaluations": 20, "checkpoints": 10}
    assert {key: train[key] for key in expected} == expected
    assert train["seq_length"] == 1024
    assert train["device"] == "Ascend"


def keywords(script, function):
    """Keywords that a workflow script passes to `function` by name."""
    tree = ast.parse((ROOT / "workflow" / "scripts" / script).read_text())
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    (call,) = [node for node in calls if getattr(node.func, "attr", "") == function.__name__]
    return {keyword.arg for keyword in call.keywords} - {None}


def parameters(*functions):
    """Names of all their parameters."""
    return {name for function in functions for name in inspect.signature(function).parameters}


@pytest.mark.parametrize(
    ("script", "function", "fragment"),
    [
        ("train.py", finetune.finetune, params.train),
        ("base.py", pretrain.build, params.base),
        ("convert.py", huggingface.convert, params.conversion),
        ("configs.py", mindformers.write, params.prediction),
        ("reckon.py", plan.reckon, lambda made: params.plan(made, 2)),
    ],
)
def test_script_and_fragment_together_are_the_functions_arguments(script, function, fragment):
    ours, theirs = keywords(script, function), set(fragment(settings()))
    assert not ours & theirs
    assert ours | theirs == set(inspect.signature(function).parameters)


@pytest.mark.parametrize(
    ("script", "task", "fragment"),
    [
        ("evaluate.py", tasks.evaluate, params.evaluate),
        ("validate.py", tasks.validate, params.asking),
    ],
)
def test_script_and_fragment_together_are_an_evaluation_s_arguments(script, task, fragment):
    ours, theirs = keywords(script, tasks.ask), set(fragment(settings()))
    assert not ours & theirs
    wanted = parameters(tasks.ask, task, model.ready) - {"task", "arguments", "asking", "share"}
    assert ours | theirs == wanted


@pytest.mark.parametrize(
    ("function", "fragment"),
    [
        (readers.read_benchmark, params.reading),
        (ledger.screen, params.screening),
        (alpaca.copies, params.shuffling),
        (splits.choose, params.sizes),
        (export.export_network, params.export),
        (demo.write, lambda made: made["demo"]),
        (plan.reckon, lambda made: params.plan(made, 2)),
    ],
)
def test_fragments_are_arguments_of_their_functions(function, fragment):
    assert set(fragment(settings())) <= set(inspect.signature(function).parameters)


@pytest.mark.parametrize(
    "fragment",
    [
        params.reading,
        params.screening,
        params.shuffling,
        params.sizes,
        params.base,
        params.conversion,
        params.export,
        params.train,
        params.evaluate,
        params.prediction,
        lambda made: params.plan(made, 2) | {"run": ""},
    ],
)
def test_a_fragment_does_not_change_with_keys_of_others(fragment):
    """So an unrelated key re-runs nothing."""
    foreign = {"run": "other", "demo__seed": 8, "train__retries": 3, "evaluate__protocol": "letter"}
    assert fragment(settings(**foreign)) == fragment(settings())


def test_inputs_by_address_become_downloads():
    hashes = {"config.json": "1" * 64, "tokenizer.model": "2" * 64}
    made = given(
        base__path="s3://bucket/net/",
        base__sha256=hashes,
        tokenizer__path=None,
        evaluate__squad="https://host/dev.json?token=1",
        evaluate__squad_sha256="3" * 64,
        benchmarks=[{"name": "ferns", "layout": "mmlu", "language": "en", "path": "S3://bucket/f.tar.gz"}],
    )
    checks.check(made)
    s3 = {"endpoint": None, "region": None, "addressing": "auto"}
    assert params.fetched(made) == {
        "ferns.tar.gz": {"address": "S3://bucket/f.tar.gz", "s3": s3, "sha256": None},
        "tokenizer.model": {"address": "s3://bucket/net/tokenizer.model", "s3": s3, "sha256": "2" * 64},
        "reading.json": {"address": "https://host/dev.json?token=1", "s3": None, "sha256": "3" * 64},
        "base-config/config.json": {"address": "s3://bucket/net/config.json", "s3": s3, "sha256": "1" * 64},
    }
    assert list(params.fetched_archives(made)) == ["ferns.tar.gz"]
    assert params.fetched_base(made) == {"address": "s3://bucket/net/", "s3": s3, "sha256": hashes}
    assert params.base_files(made, "downloads") == ["downloads/base-config/config.json", "downloads/base"]
    assert params.peft_base(made, "downloads", "exported") == "downloads/base"


def test_nothing_is_downloaded_by_default():
    assert params.fetched(settings()) == {} and params.fetched_base(settings()) is None


def test_the_published_configuration_has_no_secrets_of_addresses_and_not_where_it_goes():
    path = "https://me:secret@host/f.zip?token=secret"
    entry = {"name": "ferns", "layout": "mmlu", "language": "en", "path": path}
    made = params.recipe(settings(benchmarks=[entry], publish__to="s3://bucket"))
    assert made["benchmarks"][0]["path"] == "https://host/f.zip" and "secret" not in str(made)
    assert set(settings()) - set(made) == {"s3", "publish", "fetch_run", "plan"}
    assert made["train"] == settings()["train"]
