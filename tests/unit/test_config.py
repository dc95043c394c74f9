from pathlib import Path

import pytest
import yaml

from mcqlora.config import loading
from mcqlora.errors import UserError

ROOT = Path(__file__).parents[2]
SCHEMA = loading.read_yaml(ROOT / "workflow" / "schemas" / "config.schema.yaml")
OVERLAYS = sorted((ROOT / "config").glob("*.yaml"))


def default():
    return loading.read_yaml(ROOT / "config.yaml")


def changed(changes=None, **others):
    return loading.check(default() | (changes or {}) | others, SCHEMA)


def leaves(value, prefix=""):
    """Dotted keys of a configuration; a list and an empty mapping count as one value."""
    for key, item in value.items():
        if isinstance(item, dict) and item:
            yield from leaves(item, f"{prefix}{key}.")
        else:
            yield prefix + key


def subschemas(schema, place="config"):
    yield place, schema
    for key, sub in schema.get("properties", {}).items():
        yield from subschemas(sub, f"{place}.{key}")
    if "items" in schema:
        yield from subschemas(schema["items"], f"{place}[]")


def test_config_yaml_has_every_key_of_the_schema_and_no_other():
    assert sorted(leaves(default())) == sorted(key for key, _ in loading.known_keys(SCHEMA))


def test_config_yaml_says_every_key_in_a_comment_or_its_heading():
    """The keys of `model`, `train` and `base` that name themselves need none; every section has one."""
    lines = (ROOT / "config.yaml").read_text().splitlines()
    sections = [number for number, line in enumerate(lines) if line.endswith(":") or ": #" in line[:20]]
    assert len(sections) > 5
    assert sum("#" in line for line in lines) > 40


def test_every_object_of_the_schema_is_closed():
    for place, schema in subschemas(SCHEMA):
        if schema.get("type") == "object":
            assert schema.get("additionalProperties") is False, place


def test_every_key_of_the_schema_has_a_description_and_a_default():
    required = set(SCHEMA["required"])
    for place, schema in subschemas(SCHEMA):
        if place == "config" or "[]" in place:  # an element of a list
            continue
        assert schema.get("description"), place
        assert "default" in schema or place.removeprefix("config.") in required, place
    for sub in SCHEMA["properties"]["benchmarks"]["items"]["properties"].values():
        assert sub.get("description")


def test_every_default_of_the_schema_is_valid():
    import jsonschema

    for place, schema in subschemas(SCHEMA):
        if "default" in schema:
            jsonschema.Draft202012Validator(schema).validate(schema["default"]), place


def test_defaults_are_filled_in():
    filled = loading.check({key: default()[key] for key in ("run", "data", "benchmarks")}, SCHEMA)
    assert filled["train"]["lora_rank"] == 16
    assert filled["holdout"]["near_duplicate_threshold"] == 0.8
    assert sorted(leaves(filled)) == sorted(key for key, _ in loading.known_keys(SCHEMA))


def test_given_values_stay_and_the_argument_is_left_alone():
    given = default() | {"train": {"lora_rank": 8}}
    before = yaml.safe_dump(given)
    filled = loading.check(given, SCHEMA)
    assert filled["train"]["lora_rank"] == 8
    assert filled["train"]["lora_alpha"] == 32
    assert yaml.safe_dump(given) == before


def test_filled_twice_is_filled_once():
    once = loading.check(default(), SCHEMA)
    assert loading.check(once, SCHEMA) == once


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trian": {}}, "config: unknown key trian; did you mean train?"),
        ({"train": {"lora_rnak": 8}}, "config: unknown key train.lora_rnak; did you mean train.lora_rank?"),
        ({"lora_rank": 8}, "config: unknown key lora_rank; did you mean train.lora_rank?"),
        ({"zzz": 1}, "config: unknown key zzz; config.yaml lists every key"),
        ({1: 2, False: 3, "zzz": 1}, "config: unknown key 1; config.yaml lists every key"),
    ],
)
def test_an_unknown_key_names_the_nearest_known_one(changes, message):
    with pytest.raises(UserError) as error:
        changed(changes)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"train": {"lora_rank": "eight"}}, "train.lora_rank: 'eight' is not of type"),
        ({"train": {"lora_rank": "[8"}}, "train.lora_rank: '[8' is not of type"),
        ({"train": {"epochs": "1.5"}}, "train.epochs: 1.5 is not of type"),
        ({"train": {"epochs": 0}}, "train.epochs: 0 is less than the minimum"),
        ({"model": {"num_heads": 0}}, "model.num_heads: 0 is less than the minimum"),
        ({"train": 3}, "train: 3 is not of type 'object'"),
        ({"train": {"seed": -1}}, "train.seed: -1 is less than the minimum"),
        ({"shuffle": {"seed": 2**32}}, "shuffle.seed: 4294967296 is greater than the maximum"),
        ({"device": "TPU"}, "device: 'TPU' is not one of"),
        ({"run": "../elsewhere"}, "run: "),
        ({"run": ""}, "run: "),
        ({"benchmarks": []}, "benchmarks: "),
        ({"benchmarks": [{"name": "x"}]}, "benchmarks.0: 'layout' is a required property"),
        ({"holdout": {"near_duplicate_threshold": 1.5}}, "holdout.near_duplicate_threshold: 1.5 is greater"),
        ({"holdout": {"near_duplicate_threshold": 0}}, "holdout.near_duplicate_threshold: 0 is less"),
    ],
)
def test_a_wrong_value_names_its_key(changes, place):
    with pytest.raises(UserError) as error:
        changed(**changes)
    message = str(error.value)
    assert message.startswith("config: " + place)
    assert "\n" not in message


@pytest.mark.parametrize("said", ["1e3", 1e3, "1000.0"])
def test_a_whole_number_is_an_integer_however_it_is_written(said):
    number = changed(evaluate={"generation_items": said})["evaluate"]["generation_items"]
    assert number == 1000 and isinstance(number, int)


def test_a_wrong_value_that_may_have_a_password_is_not_repeated():
    with pytest.raises(UserError, match=r"^config: s3\.endpoint: does not match ") as error:
        changed(s3={"endpoint": "https://user:secret@host"})
    assert "secret" not in str(error.value)


def test_texts_of_the_command_line_become_values():
    """`--config "train={lora_rank: 8}"` reaches us as {"train": {"lora_rank": "8"}}."""
    given = {
        "lora_rank": "8",
        "learning_rate": "1e-4",
        "rows": "null",
        "target_modules": "1",
        "lora_alpha": "8.5",
    }
    filled = changed(train=given, read={"pandas_na": "true"}, tokenizer={"path": "8"}, run="7")
    assert filled["train"]["lora_rank"] == 8
    assert filled["train"]["learning_rate"] == 1e-4
    assert filled["train"]["rows"] is None
    assert filled["train"]["lora_alpha"] == 8.5
    assert changed(tokenizer={"path": "null"})["tokenizer"]["path"] is None
    assert filled["train"]["target_modules"] == "1"
    assert filled["read"]["pandas_na"] is True
    assert filled["tokenizer"]["path"] == "8"
    assert filled["run"] == "7"


@pytest.mark.parametrize("path", OVERLAYS, ids=lambda path: path.stem)
def test_every_overlay_is_valid(path):
    overlay = loading.read_yaml(path)
    filled = loading.check(default() | overlay, SCHEMA)
    assert filled["run"] == overlay["run"] != default()["run"]


def test_there_are_overlays():
    assert len(OVERLAYS) >= 3


def test_read_yaml(tmp_path):
    (tmp_path / "empty.yaml").write_text("# nothing\n")
    (tmp_path / "bad.yaml").write_text("a: [1,\nb: }")
    assert loading.read_yaml(tmp_path / "empty.yaml") == {}
    with pytest.raises(UserError, match=r"bad.yaml: line 2: not valid YAML") as error:
        loading.read_yaml(tmp_path / "bad.yaml")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            b'run: x\ndata: !!python/object/apply:os.system ["touch forged"]\n',
            "line 2: not valid YAML .*os.system",
        ),
        (b"run: !!python/name:os.system\n", "line 1: not valid YAML"),
        (b'__use_yte__: true\nrun: ?__import__("os").system("touch forged")\n', "__use_yte__ would run"),
        (b"run: x\n? [a, b]\n: c\n", "line 2: not valid YAML"),
        (b"run: \xff\n", "not UTF-8"),
        (b"run: a\0b\n", "not valid YAML"),
        (b"just text\n", "holds no keys"),
        (b"[" * 5000, "not valid YAML"),
        (b"run: 2026-99-99\n", "not valid YAML"),
    ],
)
def test_a_hostile_configuration_is_one_line_and_nothing_is_run(tmp_path, monkeypatch, content, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil.yaml").write_bytes(content)
    with pytest.raises(UserError, match=said) as error:
        loading.read_yaml(tmp_path / "evil.yaml")
    assert "\n" not in str(error.value) and "; " in str(error.value)
    assert not (tmp_path / "forged").exists()


def test_a_configuration_may_be_json_and_must_be_there(tmp_path):
    (tmp_path / "tabs.json").write_text('{\n\t"run": "x"\n}')
    assert loading.read_yaml(tmp_path / "tabs.json") == {"run": "x"}
    with pytest.raises(UserError, match=r"none.yaml: cannot read \(No such file"):
        loading.read_yaml(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("{run}_dev.csv", "braces"),
        ("a\nb_dev.csv", "no line of text"),
        ("caf\udce9_dev.csv", "no line of text"),
    ],
)
def test_names_that_snakemake_cannot_take(tmp_path, name, said):
    (tmp_path / "b/dev").mkdir(parents=True)
    (tmp_path / "b/dev" / name).write_text("")
    settings = {"data": str(tmp_path), "benchmarks": [{"name": "b", "path": "b"}]}
    for ask in (loading.benchmark_inputs, lambda settings: loading.data_file(settings, f"b/dev/{name}")):
        with pytest.raises(UserError, match=f"{said}.*; rename it|{said}; rename it") as error:
            ask(settings)
        str(error.value).encode()
        assert "\n" not in str(error.value)


def test_benchmark_inputs_are_sorted_and_complete(tmp_path):
    for name in ("b/test/y_test.csv", "b/dev/x_dev.csv", "a/test/z.csv", "a/test/note.txt", "c/dev/no.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    settings = {
        "data": str(tmp_path),
        "benchmarks": [{"name": "bb", "path": "b"}, {"name": "aa", "path": "a"}],
    }
    files = ["b/dev/x_dev.csv", "b/test/y_test.csv", "a/test/z.csv"]
    assert loading.benchmark_inputs(settings) == [str(tmp_path / file) for file in files]


def test_benchmark_inputs_that_are_not_there(tmp_path):
    settings = {"data": str(tmp_path / "data"), "benchmarks": [{"name": "m", "path": "mmlu"}]}
    with pytest.raises(UserError, match=r"^data: there is no folder .*--config data=FOLDER"):
        loading.benchmark_inputs(settings)
    (tmp_path / "data" / "mmlu").mkdir(parents=True)
    with pytest.raises(UserError, match=r"mmlu: no CSV files of benchmark m; set benchmarks or data"):
        loading.benchmark_inputs(settings)


def test_data_file(tmp_path):
    (tmp_path / "model").write_text("")
    assert loading.data_file({"data": str(tmp_path)}, "model") == str(tmp_path / "model")
    with pytest.raises(UserError, match="other: no such file; paths in the config are relative to data"):
        loading.data_file({"data": str(tmp_path)}, "other")
