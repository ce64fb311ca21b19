"""The option that rewrites the expected output of the scripts; read the diff afterwards."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rewrite", action="store_true", help="write what the scripts now say over what they said")
