"""The profiles and the rules that they name."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
RULES = {
    name
    for path in (ROOT / "Snakefile", *ROOT.glob("workflow/rules/*.smk"))
    for name in re.findall(r"^\s*rule (\w+):", path.read_text(), re.MULTILINE)
}
RULES |= {"base_2", "tokenizer_2"}  # for variants that have another form of them than the run


@pytest.fixture(params=sorted(path.name for path in (ROOT / "profiles").iterdir()))
def profile(request):
    return yaml.safe_load((ROOT / "profiles" / request.param / "config.yaml").read_text())


def test_every_rule_that_a_profile_names_is_one(profile):
    for key in ("groups", "set-resources", "set-threads"):
        assert set(profile.get(key, {})) <= RULES, key


def test_a_profile_has_what_the_default_one_decides(profile):
    default = yaml.safe_load((ROOT / "profiles/default/config.yaml").read_text())
    shared = {"shared-fs-usage"} if profile.get("executor") == "slurm" else set()  # its nodes share HOME
    assert set(default) - shared <= set(profile)
    assert profile["rerun-triggers"] == default["rerun-triggers"]
