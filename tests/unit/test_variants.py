"""Variants and seeds: which trainings there are, what is refused, and in whose folder a stage lives."""

import pytest

from mcqlora.config import variants
from mcqlora.errors import UserError

RANK8 = {"rank8": {"train": {"lora_rank": 8}}}
# stage: (the keys that decide it, the stages before it), as rules have them in `params` and `input`
STAGES = {
    "data": (["demo.seed"], []),
    "split": (["shuffle.seed", "split"], ["data"]),
    "encode": (["encode.layout"], ["split"]),
    "train": (["train.lora_rank", "train.seed"], ["encode"]),
    "evaluate": (["evaluate.rotations"], ["train", "split"]),
}


def trainings(**config):
    return variants.load(config)


def places(found):
    """Where each stage of each training is: {name: {stage: folder}}."""

    def made_by(path):
        stage = path.rpartition("/")[2]
        one = next((one for one in found if path == f"r/{one.folder}{stage}"), None)
        if one is None or stage not in STAGES:
            return None
        keys, before = STAGES[stage]
        values = []
        for key in keys:
            value = one.config
            for part in key.split("."):
                value = value[part]
            values.append(value)
        return stage, values, [known.place("r/{variant}" + name, one) for name in before]

    known = variants.Places(found, made_by)
    return {
        one.name: {
            stage: known.place("r/{variant}" + stage, one).removeprefix("r/").removesuffix(stage)
            for stage in STAGES
        }
        for one in found
    }


def test_a_run_without_variants_and_seeds_is_one_training():
    (only,) = trainings()
    assert (only.variant, only.folder, only.name, only.seed) == ("", "", "demo", 0)


def test_each_variant_with_each_seed_is_a_training_and_its_own_seed_has_no_folder():
    found = trainings(variants=RANK8, seeds=[0, 1], run="r")
    assert [(one.name, one.folder, one.seed) for one in found] == [
        ("r-seed-0", "", 0),
        ("r-seed-1", "seed-1/", 1),
        ("rank8-seed-0", "variants/rank8/", 0),
        ("rank8-seed-1", "variants/rank8/seed-1/", 1),
    ]
    assert [one.config.train.lora_rank for one in found] == [16, 16, 8, 8]
    assert [one.config.train.seed for one in found] == [0, 1, 0, 1]


def test_seeds_added_later_leave_each_training_where_it_is():
    before, after = trainings(variants=RANK8), trainings(variants=RANK8, seeds=[5, 0])
    assert {one.folder for one in before} <= {one.folder for one in after}


def test_the_run_itself_is_compared_with_a_seed_of_seeds():
    def names(**config):
        return [one.name for one in variants.compared(trainings(**config))]

    assert names() == names(seeds=[0]) == []
    assert names(variants=RANK8) == ["demo", "rank8"]
    assert names(variants=RANK8, seeds=[0]) == ["demo-seed-0", "rank8-seed-0"]
    assert names(variants=RANK8, seeds=[1]) == ["demo-seed-1", "rank8-seed-1"]


def test_a_variant_may_name_its_recipe_and_what_it_does_not_take_of_it():
    leaky = {"recipe": "reference", "tokenizer": {"unused_marks": False}}
    _, found = trainings(variants={"leaky": leaky})
    assert found.config.split == "recipe" and not found.config.tokenizer.unused_marks
    _, found = trainings(recipe="reference", variants={"mended": {"recipe": "corrected"}})
    assert found.config.split == "question"


def test_what_two_trainings_make_alike_is_in_the_folder_of_the_first():
    found = places(
        trainings(
            variants={
                **RANK8,
                "packed": {"encode": {"layout": "packed"}},
                "packed8": {"encode": {"layout": "packed"}, "train": {"lora_rank": 8}},
                "asked": {"evaluate": {"rotations": 1}},
                "other": {"shuffle": {"seed": 7}},
                "same": {"train": {"lora_rank": 16}},
            }
        )
    )
    own = dict.fromkeys(STAGES, "")
    assert found["demo"] == own == found["same"]
    assert found["rank8"] == own | dict.fromkeys(("train", "evaluate"), "variants/rank8/")
    assert found["packed"] == own | dict.fromkeys(("encode", "train", "evaluate"), "variants/packed/")
    # Its layout is the other's, its rank that of a third: with neither it has a training in common.
    assert found["packed8"] == found["packed"] | dict.fromkeys(("train", "evaluate"), "variants/packed8/")
    assert found["asked"] == own | {"evaluate": "variants/asked/"}
    assert found["other"] == dict.fromkeys(STAGES, "variants/other/") | {"data": ""}


def test_a_seed_alone_makes_no_data_again():
    found = places(trainings(variants={"packed": {"encode": {"layout": "packed"}}}, seeds=[0, 1]))
    assert found["demo-seed-1"]["encode"] == "" and found["demo-seed-1"]["train"] == "seed-1/"
    second = found["packed-seed-1"]
    assert (second["encode"], second["train"]) == ("variants/packed/", "variants/packed/seed-1/")


def test_a_file_that_nothing_makes_stays_where_it_is():
    found = trainings(variants=RANK8)
    assert variants.Places(found, lambda path: None).place("data/x.csv", found[1]) == "data/x.csv"


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (
            {"variants": {"x": {"train": {"lora_rnak": 8}}}},
            "variants: x: unknown key train.lora_rnak; did you mean",
        ),
        ({"variants": {"x": {"trian": {}}}}, "variants: x: unknown key trian; did you mean train?"),
        ({"variants": {"a/b": {}}}, "variants.a/b: does not match"),
        ({"variants": {"x": {"run": "y"}}}, "variants: x: run belongs to the run itself"),
        ({"variants": {"x": {"data": "y"}}}, "variants: x: data belongs to the run itself"),
        ({"variants": {"x": {"variants": {}}}}, "variants: x: variants belongs to the run itself"),
        (
            {"variants": {"x": {"shuffle": {"copies": 3}}}},
            "variants: x: shuffle.copies belongs to the run itself",
        ),
        ({"variants": {"x": {"train": {"lora_rank": "y"}}}}, "variants: x: train.lora_rank: 'y' should be"),
        ({"variants": {"demo": {}}}, "variants: demo is the name of two models"),
        ({"variants": {"base": {}}}, "variants: base is the name of two models"),
        (
            {"variants": {"x": {}, "x-seed-0": {}}, "seeds": [0]},
            "variants: x-seed-0 is the name of two models",
        ),
        (
            {"variants": {"x": {}}, "judge": {"models": [{"name": "x", "path": "y"}]}},
            "variants: x is the name of two models",
        ),
        ({"seeds": [1, 1]}, "seeds: 1 stands there twice"),
    ],
)
def test_a_bad_variant_is_refused_in_one_line(config, said):
    with pytest.raises(UserError) as refused:
        trainings(**config)
    assert said in str(refused.value) and "\n" not in str(refused.value)


def test_what_goes_across_sections_is_checked_of_each_variant():
    found = trainings(variants={"x": {"encode": {"layout": "packed", "on_long": "truncate"}}})
    with pytest.raises(
        UserError, match=r"^variants: x: encode\.on_long: truncate leaves rows without a label"
    ):
        variants.check(found)


def test_equal_names_are_found_in_the_text_since_yaml_keeps_the_last(tmp_path):
    path = tmp_path / "v.yaml"
    path.write_text("variants:\n  a: {}\n  b: {}\n  a: {train: {lora_rank: 8}}\n")
    assert variants.twice([path], []) == ["a"]
    assert variants.twice([], ["variants={a: {}, a: {}}", "run=x"]) == ["a"]
    path.write_text("variants: {a: {}, b: {}}\nmodule: {variants: {a: {}}}\n")
    assert variants.twice([path], ["variants={a: {}}"]) == []
    with pytest.raises(UserError, match="variants: two are called a; give every variant a name of its own"):
        variants.load({"variants": {"a": {}}}, arguments=["variants={a: {}, a: {}}"])


def test_a_partial_configuration_changes_the_keys_that_it_names():
    config = {"train": {"lora_rank": 16, "seed": 3}, "evaluate": "{shots: [0]}", "seeds": [1]}
    changes = {"train": {"lora_rank": 8}, "evaluate": {"shots": [1]}, "split": "official"}
    made = variants.merged(config, changes)
    assert made["train"] == {"lora_rank": 8, "seed": 3} and made["split"] == "official"
    assert made["evaluate"] == {"shots": [1]} and config["train"]["lora_rank"] == 16
    assert variants.changed(changes) == {"train.lora_rank": 8, "evaluate.shots": [1], "split": "official"}


def test_a_curve_is_of_those_that_differ_in_their_training_rows_alone():
    few = {"few": {"train": {"rows": 64}}, "few8": {"train": {"rows": 64, "lora_rank": 8}}}
    found = trainings(variants=few | RANK8, seeds=[0, 1])
    assert [one.name for one in variants.curve(found)] == [
        "demo-seed-0",
        "demo-seed-1",
        "few-seed-0",
        "few-seed-1",
    ]
    assert variants.curve(trainings(variants=RANK8)) == []
