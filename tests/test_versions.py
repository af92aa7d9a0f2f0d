"""The ends of pyproject.toml's ranges, and the versions that the tests are run with, do not drift apart."""

import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version


if sys.version_info >= (3, 11):
    import tomllib
else:  # pytest brings it there
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
RUN = [Requirement(line) for line in PROJECT["dependencies"]]
EXTRA = [Requirement(line) for extra in PROJECT["optional-dependencies"].values() for line in extra]
HELD_BACK = {"pyparsing"}  # in oldest.txt, though no requirement: what a requirement needs there


def pins(name: str) -> dict[str, Version]:
    """The one version that constraints/NAME.txt allows of each package."""
    found = {}
    for line in (ROOT / "constraints" / f"{name}.txt").read_text().splitlines():
        if line.partition("#")[0].strip():
            requirement = Requirement(line.partition("#")[0])
            (pin,) = requirement.specifier
            assert pin.operator == "==" and canonicalize_name(requirement.name) not in found
            found[canonicalize_name(requirement.name)] = Version(pin.version)
    return found


def test_whatever_a_run_needs_has_a_lower_bound_and_no_requirement_has_another():
    assert all(requirement.specifier for requirement in RUN)
    assert all([bound.operator for bound in requirement.specifier] in ([], [">="]) for requirement in RUN + EXTRA)


def test_the_oldest_versions_are_exactly_the_lower_bounds():
    bounds: dict[str, set[Version]] = {}
    for requirement in RUN + EXTRA:
        for bound in requirement.specifier:
            bounds.setdefault(canonicalize_name(requirement.name), set()).add(Version(bound.version))
    oldest = pins("oldest")
    assert oldest.keys() - HELD_BACK == bounds.keys()
    assert {name: {oldest[name]} for name in bounds} == bounds


def test_the_newest_versions_name_every_requirement():
    assert {canonicalize_name(requirement.name) for requirement in RUN + EXTRA} <= pins("newest").keys()


@pytest.mark.parametrize(("lower", "upper"), [("oldest", "tested"), ("tested", "newest"), ("oldest", "newest")])
def test_no_version_lies_above_that_of_a_newer_set(lower, upper):
    below, above = pins(lower), pins(upper)
    shared = below.keys() & above.keys()
    assert "torch" in shared and {name for name in shared if below[name] > above[name]} == set()
