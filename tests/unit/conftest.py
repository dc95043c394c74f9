"""Intervals are drawn few times here, but by their own tests as often as in a report."""

import pytest

FULL = ("test_intervals", "test_robustness")


@pytest.fixture(autouse=True)
def few_resamples(request, monkeypatch):
    if not request.module.__name__.endswith(FULL):
        monkeypatch.setattr("mcqlora.report.intervals.RESAMPLES", 999)
