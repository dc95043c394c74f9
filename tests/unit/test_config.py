import copy
import datetime
import json
import pickle
from pathlib import Path

import pytest
import yaml

from mcqlora.config import __main__ as generated
from mcqlora.config import loading, recipe
from mcqlora.config.sections import GENERATED, Section, Settings
from mcqlora.errors import UserError

ROOT = Path(__file__).parents[2]
OVERLAYS = sorted(set((ROOT / "config").glob("*.yaml")) - {ROOT / "config" / "config.yaml"})
ISLAND = {"name": "x", "layout": "mmlu", "path": "x", "language": "en"}
DEFAULTS = Settings()


def default():
    return loading.read_yaml(ROOT / "config.yaml")


def sections_of(kind=Settings, place="config"):
    """(place, section) of all."""
    yield place, kind
    for key, field in kind.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from sections_of(field.annotation, f"{place}.{key}")


@pytest.mark.parametrize(
    ("name", "text"),
    [("config.yaml", generated.config_yaml()), (generated.SCHEMA, generated.schema_yaml())],
)
def test_the_generated_files_are_of_today(name, text):
    assert (ROOT / name).read_text(encoding="utf-8") == text, "run python -m mcqlora.config"


def test_config_yaml_names_every_key_with_its_default():
    assert loading.load(default()) == DEFAULTS
    for place, kind in sections_of():
        made = default()
        for key in place.split(".")[1:]:
            made = made[key]
        assert list(made) == list(kind.model_fields)


def test_every_key_has_a_description_and_no_section_is_open():
    for place, kind in sections_of():
        assert kind.model_config["extra"] == "forbid" and kind.model_config["frozen"]
        for key, field in kind.model_fields.items():
            assert field.description, f"{place}.{key}"


def test_the_schema_says_what_the_sections_say():
    import jsonschema

    schema = yaml.safe_load(generated.schema_yaml())
    validator = jsonschema.Draft202012Validator(schema)
    validator.check_schema(schema)
    validator.validate(default())
    for wrong in ({"trian": {}}, {"train": {"epochs": 0}}, {"model": {"theta": 0}}, {"run": "../x"}):
        assert not validator.is_valid(wrong)
    for right in ({"train": {"rows": None}}, {"holdout": {"near_duplicate_threshold": None}}):
        validator.validate(right)


def test_defaults_are_filled_in_and_the_argument_is_left_alone():
    given = {"train": {"lora_rank": 8}}
    filled = loading.load(given)
    assert (filled.train.lora_rank, filled.train.lora_alpha, filled.data) == (8, 32, GENERATED)
    assert given == {"train": {"lora_rank": 8}}
    assert loading.load(filled.model_dump()) == filled
    assert loading.load({}) == loading.load({"read": None}) == DEFAULTS


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trian": {}}, "config: unknown key trian; did you mean train?"),
        ({"train": {"lora_rnak": 8}}, "config: unknown key train.lora_rnak; did you mean train.lora_rank?"),
        ({"lora_rank": 8}, "config: unknown key lora_rank; did you mean train.lora_rank?"),
        (
            {"benchmarks": [{"name": "x", "layout": "mmlu", "path": "x", "language": "en", "license": "y"}]},
            "config: unknown key benchmarks.0.license; did you mean benchmarks.0.licence?",
        ),
        ({"zzz": 1}, "config: unknown key zzz; config.yaml lists every key"),
        ({1: 2, False: 3, "zzz": 1}, "config: unknown key 1; config.yaml lists every key"),
    ],
)
def test_an_unknown_key_names_the_nearest_known_one(changes, message):
    with pytest.raises(UserError) as error:
        loading.load(changes)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"train": {"lora_rank": "eight"}}, "train.lora_rank: 'eight' should be a valid integer"),
        ({"train": {"lora_rank": "[8"}}, "train.lora_rank: '[8' should be a valid integer"),
        ({"train": {"lora_rank": True}}, "train.lora_rank: True should be a valid integer"),
        ({"train": {"epochs": "1.5"}}, "train.epochs: 1.5 should be a valid integer"),
        ({"train": {"epochs": 0}}, "train.epochs: 0 should be greater than or equal to 1"),
        ({"train": {"learning_rate": ".nan"}}, "train.learning_rate: nan should be a finite number"),
        ({"model": {"num_heads": 0}}, "model.num_heads: 0 should be greater than or equal to 1"),
        ({"train": 3}, "train: 3 should be a section of keys"),
        ({"recipe": "reference", "read": 3}, "read: 3 should be a section of keys"),
        ({"train": {"seed": -1}}, "train.seed: -1 should be greater than or equal to 0"),
        ({"shuffle": {"seed": 2**32}}, "shuffle.seed: 4294967296 should be less than or equal to 4294967295"),
        ({"device": "TPU"}, "device: 'TPU' should be 'CPU' or 'Ascend'"),
        ({"run": "../elsewhere"}, "run: does not match "),
        ({"run": "demo\n"}, r"run: has the control character '\n', such as the end of a line; remove it"),
        ({"data": "a\tb"}, r"data: has the control character '\t'"),
        ({"data": "caf\udce9"}, r"data: has the control character '\udce9'"),
        ({"plan": {"source": "two\u2028lines"}}, r"plan.source: has the control character '\u2028'"),
        ({"benchmarks": [ISLAND | {"licence": "MIT\n"}]}, "benchmarks.0.licence: has the control character"),
        ({"benchmarks": [ISLAND | {"name": "x\n"}]}, "benchmarks.0.name: has the control character"),
        ({"base": {"sha256": {"a\n": "0" * 64}}}, r"base.sha256.'a\n': has the control"),
        ({"run": ""}, "run: does not match "),
        ({"data": ""}, "data: '' should have at least 1 character"),
        ({"data": None}, "data: None should be a valid string"),
        ({"benchmarks": []}, "benchmarks: [] should have at least 1 item"),
        ({"benchmarks": [{"name": "x"}]}, "benchmarks.0: has no path; add it"),
        ({"evaluate": {"shots": [0, 9]}}, "evaluate.shots.1: 9 should be less than or equal to 5"),
        ({"evaluate": {"shots": [0, 0]}}, "evaluate.shots: 0 stands there twice; remove one"),
        ({"holdout": {"near_duplicate_threshold": 1.5}}, "holdout.near_duplicate_threshold: 1.5 should be"),
        ({"holdout": {"near_duplicate_threshold": 0}}, "holdout.near_duplicate_threshold: 0 should be gr"),
        ({"base": {"sha256": {"a": "0"}}}, "base.sha256.a: does not match"),
        (
            {"train": {"mix": [{"shre": 0.1}]}},
            "unknown key train.mix.0.shre; did you mean train.mix.0.share?",
        ),
        ({"train": {"mix": [{"path": "x"}]}}, "train.mix.0: has no share; add it"),
        ({"benchmarks": [{"nam": "x"}]}, "unknown key benchmarks.0.nam; did you mean benchmarks.0.name?"),
        ({"shuffle": {"option_references": {"en": {"odd": []}}}}, "unknown key shuffle.option_references.en"),
    ],
)
def test_a_wrong_value_names_its_key(changes, place):
    with pytest.raises(UserError) as error:
        loading.load(changes)
    message = str(error.value)
    assert message.startswith("config: " + place)
    assert "\n" not in message


@pytest.mark.parametrize("said", ["1e3", 1e3, "1000.0"])
def test_a_whole_number_is_an_integer_however_it_is_written(said):
    number = loading.load({"evaluate": {"generation_items": said}}).evaluate.generation_items
    assert number == 1000 and isinstance(number, int)


@pytest.mark.parametrize("said", [32, 32.0, "32"])
def test_a_number_stays_as_it_was_given(said):
    assert str(loading.load({"train": {"lora_alpha": said}}).train.lora_alpha) == str(said)


def test_a_wrong_value_that_may_have_a_password_is_not_repeated():
    with pytest.raises(UserError, match=r"^config: s3\.endpoint: does not match ") as error:
        loading.load({"s3": {"endpoint": "https://user:secret@host"}})
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
    filled = loading.load(
        {
            "train": given,
            "read": {"pandas_na": "true"},
            "tokenizer": {"path": "8"},
            "evaluate": {"shots": ["0", "5"], "rotations": "1"},
        }
    )
    assert filled.train.lora_rank == 8
    assert filled.train.learning_rate == 1e-4
    assert filled.train.rows is None
    assert filled.train.lora_alpha == 8.5
    assert filled.train.target_modules == "1"
    assert filled.read.pandas_na is True
    assert filled.tokenizer.path == "8"
    assert (filled.evaluate.shots, filled.evaluate.rotations) == ([0, 5], 1)
    assert loading.load({"tokenizer": {"path": "null"}}).tokenizer.path is None


WRITTEN = """\
run: {run}
benchmarks:
  - {{name: 1_0, layout: mmlu, path: 2024-05-06, language: no, licence: {licence}}}
train: {{lora_rank: 1_6}}
"""


@pytest.mark.parametrize(
    ("run", "licence"),
    [("2023_01", "no"), ("20250601", "off"), ("0x10", "1.10"), ("1e5", "012"), ('"1_0"', "'1_0'")],
)
def test_a_text_of_a_file_is_what_is_written(tmp_path, run, licence):
    path = tmp_path / "overlay.yaml"
    path.write_text(WRITTEN.format(run=run, licence=licence))
    read = yaml.safe_load(path.read_text())  # as Snakemake does
    made = loading.load(read, files=[path])
    (benchmark,) = made.benchmarks
    assert made.run == run.strip('"') and benchmark.licence == licence.strip("'")
    assert benchmark.language == "no"
    assert (benchmark.name, benchmark.path, made.train.lora_rank) == ("1_0", "2024-05-06", 16)


def test_a_language_in_place_of_a_key_is_what_is_written(tmp_path):
    path = tmp_path / "overlay.yaml"
    path.write_text("shuffle: {option_references: {no: {place: [alle], rest: [no]}}}\n")
    patterns = loading.load(yaml.safe_load(path.read_text()), files=[path]).shuffle.option_references
    assert list(patterns) == ["no"] and patterns["no"].rest == ["no"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (202301, "2023_01"),
        (20250601, "20250601"),
        (7, "007"),
        (100000.0, "1e5"),
        (True, "True"),
        (1.1, "1.10"),
    ],
)
def test_a_text_of_the_command_line_is_what_is_written(value, text):
    assert loading.load({"run": value}, arguments=["train={rows: 1}", f"run={text}"]).run == text


def test_the_command_line_wins_over_a_file_and_over_its_own_beginning(tmp_path):
    path = tmp_path / "overlay.yaml"
    path.write_text("run: 2023_01\n")
    assert loading.load({"run": 5}, files=[path], arguments=["run=2023_01", "run=05"]).run == "05"
    assert loading.load({"run": "x"}, files=[path], arguments=["run=x"]).run == "x"


def test_where_nothing_says_how_it_was_written():
    """In a module's `config:`."""
    for value in (False, 1.1, 202301, datetime.date(2025, 6, 1)):
        with pytest.raises(UserError, match=rf"^config: run: was read as {value}; write it in quotes$"):
            loading.load({"run": value})


def test_config_yaml_names_nothing_but_what_was_changed_in_it():
    of_reference = loading.load({"recipe": "reference"})
    assert of_reference.split == "recipe" and of_reference.read.first_row_lost
    overlay = {"recipe": "reference"}
    assert loading.load(default() | overlay, named=overlay) == of_reference
    edited = default() | {"recipe": "reference"}
    assert loading.load(edited, named={}, files=[ROOT / "config.yaml"]) == of_reference
    edited["split"] = "official"
    edited["read"]["drop_contradictory"] = False
    assert loading.load(edited, named={}) == of_reference.model_copy(update={"split": "official"})


SWITCHES = [
    (key, name)
    for key, value in recipe.REFERENCE.items()
    for name in (value if isinstance(value, dict) else [None])
]


@pytest.mark.parametrize("config", [{}, default()], ids=["module", "checkout"])
@pytest.mark.parametrize(("key", "name"), SWITCHES)
def test_a_named_switch_wins_over_the_recipe(key, name, config):
    honest = DEFAULTS.model_dump()[key]
    named = {"recipe": "reference", key: {name: honest[name]} if name else honest}
    both = {k: config[k] | v if isinstance(v, dict) and config else v for k, v in named.items()}
    made = loading.load(config | both, named=named).model_dump()
    expected = loading.load({"recipe": "reference"}).model_dump()
    if name:
        assert made[key] == expected[key] | {name: honest[name]} != expected[key]
    else:
        assert made[key] == honest != expected[key]
    assert all(made[other] == expected[other] for other in made if other != key)


def test_a_section_that_is_a_text_takes_the_other_switches():
    """As the command line hands over a section within a section."""
    read = loading.load({"recipe": "reference", "read": "{on_bad_row: drop, pandas_na: false}"}).read
    assert (read.on_bad_row, read.pandas_na, read.first_row_lost) == ("drop", False, True)


def test_a_recipe_that_turns_nothing_on_is_refused():
    """As when config.yaml itself is given, in which every switch is named."""
    with pytest.raises(UserError, match=r"^recipe: reference turns nothing on, since every switch is named"):
        loading.load(default() | {"recipe": "reference"})
    assert loading.load(default() | {"recipe": "reference", "split": "recipe"}).split == "recipe"


def test_an_empty_section_names_nothing():
    assert loading.load({"recipe": "reference", "read": None}).read.first_row_lost is True


def test_corrected_has_no_switch():
    for key, value in recipe.REFERENCE.items():
        own = DEFAULTS.model_dump()[key]
        assert own != value
        assert not isinstance(value, dict) or all(own[name] != value[name] for name in value)


def test_the_reference_overlay_names_every_switch():
    overlay = loading.read_yaml(ROOT / "config" / "reference-4npu.yaml")
    for section, value in recipe.REFERENCE.items():
        named = overlay[section]
        assert named == value if not isinstance(value, dict) else named | value == named


@pytest.mark.parametrize("path", OVERLAYS, ids=lambda path: path.stem)
def test_every_overlay_is_valid(path):
    overlay = loading.read_yaml(path)
    assert loading.load(overlay).run == overlay["run"] != DEFAULTS.run


def test_there_are_overlays():
    assert len(OVERLAYS) >= 3


def test_rules_read_keys_as_attributes_and_scripts_get_a_plain_mapping():
    config = loading.namespace(DEFAULTS)
    assert config.train.lora_rank == config["train"]["lora_rank"] == 16
    assert config.benchmarks[0].name == "island_en"
    with pytest.raises(AttributeError, match="lora_rnak"):
        config.train.lora_rnak  # noqa: B018
    assert repr(config) == repr(DEFAULTS.model_dump())  # what Snakemake compares
    for made in (pickle.loads(pickle.dumps(config)), copy.deepcopy(config), json.loads(json.dumps(config))):
        assert made == DEFAULTS.model_dump() and type(made) is type(made["train"]) is dict


def test_no_key_hides_behind_a_method_of_mappings():
    for _, kind in sections_of():
        assert not set(kind.model_fields) & set(dir(dict))


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
        (b"[" * 1000, "not valid YAML"),
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
    assert loading.load({"run": "x"}, files=[tmp_path / "tabs.json"]).run == "x"
    with pytest.raises(UserError, match=r"none.yaml: cannot read \(No such file"):
        loading.read_yaml(tmp_path / "none.yaml")


def language(tag):
    entry = {"name": "x", "layout": "mmlu", "path": "x", "language": tag}
    return loading.load({"benchmarks": [entry]}).benchmarks[0].language


@pytest.mark.parametrize(
    ("tag", "code"),
    [
        *(("zh-CN", "zh"), ("ZH_CN", "zh"), ("zh-Hans-CN", "zh"), ("zh", "zh"), ("cmn", "zh"), ("zho", "zh")),
        *(
            ("en-US", "en"),
            ("EN", "en"),
            ("eng", "en"),
            ("fr_CA", "fr"),
            ("tlh", "tlh"),
            ("NO", "no"),
            ("deu", "de"),
        ),
    ],
)
def test_a_tag_counts_by_its_language(tag, code):
    assert language(tag) == code


@pytest.mark.parametrize("tag", ["Chinese", "中文", "zh-", "z", "en US", "zh_CN.UTF-8", ""])
def test_a_name_is_no_tag(tag):
    with pytest.raises(UserError, match=r"^config: benchmarks\.0\.language: .* is no language tag; write"):
        language(tag)


@pytest.mark.parametrize(("tag", "code"), [("zh-CN", "zh"), ("EN", "en"), ("fr_CA", "fr")])
def test_expressions_stand_under_a_language(tag, code):
    kept = loading.load({"shuffle": {"option_references": {code: {"rest": ["x"]}}}})
    assert list(kept.shuffle.option_references) == [code]
    with pytest.raises(UserError, match=rf"option_references\.{tag}: .* its language; write {code}$"):
        loading.load({"shuffle": {"option_references": {tag: {"rest": ["x"]}}}})


def test_of_a_given_base_only_what_is_named_or_changed_is_said():
    whole = Settings().model_dump() | {"base": {"path": "net"}}
    made = loading.load(whole, {"base": {"path": "net"}, "model": {"num_layers": 3}})
    said = {key: value for key, value in made.model.model_dump().items() if value is not None}
    assert said == {"num_layers": 3}
    whole["model"] = whole["model"] | {"theta": 5e5}  # in config.yaml itself
    assert loading.load(whole, {"base": {"path": "net"}}).model.theta == 5e5
    assert loading.load(Settings().model_dump(), {}).model == Settings().model
