"""The finished run is the same as the workflow tests'."""

from tests.workflow.conftest import finished

__all__ = ["finished"]
