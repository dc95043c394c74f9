"""What no single section of the configuration can say."""

import pytest

from mcqlora.config import checks
from mcqlora.errors import UserError
from tests.helpers.configs import given, settings

ISLE = {"name": "isle", "layout": "mmlu", "language": "en", "path": "isle"}


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
        (given(base__text="corpus"), r"^base.text: only the generated benchmark has a corpus"),
        (
            settings(train__parallel={"tensor": 3}),
            r"^train.parallel.tensor: 3 does not divide train.workers 2; make it a divisor$",
        ),
        (settings(train__parallel={"tensor": 2}), r"^train.parallel: a CPU has no semi-automatic"),
        (
            settings(device="Ascend", train__workers=3, train__parallel={"tensor": 3}),
            r"^train.parallel.tensor: 3 does not divide \d+ heads, \d+ of keys, an inner width of \d+; "
            r"set it to one of 1, 2",
        ),
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
            settings(train__target_modules="1|.*wq", model__num_layers=2),
            r"^train.target_modules: '1\|\.\*wq' matches 1, a layer, which MindFormers then passes over",
        ),
        (
            settings(train__target_modules="(.*wq"),
            r"^train.target_modules: '\(\.\*wq' is no regular expression \(missing \)",
        ),
        (
            settings(train__mix=[{"path": "a", "share": 0.5}, {"path": "b", "share": 0.5}]),
            r"^train.mix: the shares are 1 together, which leaves nothing for questions; lower them$",
        ),
        (
            settings(train__mix=[{"path": "a", "share": 0.1}, {"path": "a", "share": 0.2}]),
            r"^train.mix: a stands there twice; remove one$",
        ),
        (
            settings(train__mix=[{"path": "https://h/a?${QUERY}", "share": 0.1, "sha256": "a" * 64}] * 2),
            r"^train.mix: https://h/a stands there twice; remove one$",
        ),
        (
            settings(train__mix=[{"path": "a", "share": 0.1, "sha256": "a" * 64}]),
            r"^train.mix.sha256: train.mix is no address whose file could be compared; remove it$",
        ),
        (
            settings(train__mix=[{"path": "https://[x/a.json", "share": 0.1}]),
            r"^train.mix: no address can be read in it",
        ),
        (
            settings(train__workers=4, train__nodes=3),
            r"^train.workers: 4 cannot be spread evenly over train.nodes 3; make it a multiple$",
        ),
        (
            given(benchmarks=[ISLE | {"family": "What is"}]),
            r"^benchmarks: family of isle: 'What is' has no group; put \( \) around what",
        ),
        (
            given(benchmarks=[ISLE | {"family": ""}]),
            r"^benchmarks: family of isle: '' has no group; put \( \) around what",
        ),
        (
            given(benchmarks=[ISLE | {"path": "isle.zip", "family": "(What"}]),
            r"^benchmarks: family of isle: '\(What' is no regular expression \(missing \).*; mend it$",
        ),
        (
            given(benchmarks=[ISLE | {"family": "(a){99999999999}"}]),
            r"^benchmarks: family of isle: .* is no regular expression \(the repetition number .*; mend it$",
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


def test_the_headline_is_one_of_the_protocols():
    with pytest.raises(
        UserError, match=r"^evaluate.protocol: letter, the headline, is not in .* add it there"
    ):
        checks.check(settings(evaluate__protocol="letter", evaluate__protocols=["answer"]))


def test_the_reference_s_marks_are_of_internlm_s_turns():
    with pytest.raises(UserError, match=r"^tokenizer.unused_marks: .* not those of chatml; set .*false, or"):
        checks.check(settings(tokenizer__unused_marks=True, tokenizer__template="chatml"))


def test_packed_rows_cannot_be_truncated():
    with pytest.raises(UserError, match=r"^encode.on_long: truncate .*set encode.on_long: drop"):
        checks.check(settings(encode__layout="packed", encode__on_long="truncate"))


def test_packed_rows_are_for_training_alone():
    made = settings(encode__layout="packed", encode__mask_full_rows=True)
    checks.check(made)
    rows = made.encode
    assert (rows.layout_of("train"), rows.layout_of("valid")) == ("packed", "padded")
    assert (rows.edge("train"), rows.edge("valid")) == ("corrected", "reference")


def test_padded_rows_lose_their_edge_where_they_are_to():
    for recipe, edge in (("reference", "reference"), ("corrected", "corrected")):
        rows = settings(recipe=recipe).encode
        assert (rows.layout_of("train"), rows.edge("train"), rows.edge("valid")) == ("padded", edge, edge)


def test_rows_are_one_longer_in_training():
    rows = settings(encode__seq_length=1024).encode
    assert (rows.row_size("train"), rows.row_size("valid")) == (1025, 1024)


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
    assert settings(device=device, gres=gres).devices_of_slurm(npu) == asked


PASSWORD = "s3same"


@pytest.mark.parametrize(
    ("address", "what"),
    [
        (f"https://me:{PASSWORD}@host/a.zip", "a password"),
        (f"https://{PASSWORD}@host/a.zip", "a password"),
        (f"HTTP://${{ME}}:{PASSWORD}@host/a.zip", "a password"),
        (f"https://host/a.zip?X-Amz-Date=1&X-Amz-Signature={PASSWORD}", "a secret, X-Amz-Signature"),
        (f"https://host/a.zip?sv=1&sig={PASSWORD}", "a secret, sig"),
        (f"https://host/a.zip?access_token={PASSWORD}&x=${{Y}}", "a secret, access_token"),
        (f"https://host/a.zip?apiKey={PASSWORD}", "a secret, apiKey"),
    ],
)
def test_a_secret_in_an_address_is_refused_without_it(address, what):
    for key, changes in {
        "benchmarks": {"benchmarks": [{"name": "x", "layout": "mmlu", "language": "en", "path": address}]},
        "tokenizer.path": {"tokenizer__path": address},
        "base.path": {"base__path": address, "tokenizer__path": None},
        "evaluate.squad": {"evaluate__squad": address},
        "fetch_run.manifest": {"fetch_run__manifest": address},
    }.items():
        with pytest.raises(UserError) as error:
            checks.check(given(**changes))
        said = str(error.value)
        assert said.startswith(f"{key}: ") and f"//host/a.zip has {what} in it" in said
        assert PASSWORD not in said


@pytest.mark.parametrize(
    "address",
    [
        "https://me:${PASSWORD}@host/a.zip",
        "https://${TOKEN}@host/a.zip",
        "https://host/a.zip?sig=${SIG}&sv=2020",
        "https://host/a.zip?${QUERY}",
        "https://host/a.zip?download=true&author=me&keyword=x",
        "s3://bucket/a.zip",
    ],
)
def test_a_variable_in_its_place_is_taken(address):
    checks.check(given(evaluate__squad=address))


@pytest.mark.parametrize("address", [f"https://me:{PASSWORD}/x@host/a", f"https://me:{PASSWORD}\uff20host/a"])
def test_an_address_that_cannot_be_read_is_not_repeated(address):
    with pytest.raises(UserError, match=r"^evaluate.squad: no address can be read in it") as error:
        checks.check(given(evaluate__squad=address))
    assert PASSWORD not in str(error.value)
