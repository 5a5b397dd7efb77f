import pytest

from videodit.parameters import ParameterGroup, averaged, by_group, group_of, replaced

GROUPS = (
    ParameterGroup("probe", lambda path: "probe" in path, averaged=False),
    ParameterGroup("rest", lambda path: path[0] == "model"),
)
PARAMS = {"model": {"dense": {"kernel": 1, "probe": 2}, "none": {}}, "probe": {"bias": 3}}


def test_the_first_group_that_contains_a_parameter_has_it():
    names = by_group(lambda path, group: group.name, PARAMS, GROUPS)
    assert names["model"]["dense"] == {"kernel": "rest", "probe": "probe"}
    with pytest.raises(ValueError, match=r"no group contains the parameter other\.bias"):
        group_of(("other", "bias"), GROUPS)


def test_averaged_parameters_take_their_places_again():
    part = averaged(PARAMS, GROUPS)
    assert part == {"model": {"dense": {"kernel": 1}, "none": {}}}
    new = {"model": {"dense": {"kernel": 7}}}
    assert replaced(PARAMS, new) == {
        "model": {"dense": {"kernel": 7, "probe": 2}, "none": {}},
        "probe": {"bias": 3},
    }
