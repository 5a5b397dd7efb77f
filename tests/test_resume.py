"""What a resumed run says about its config, and what it refuses."""

import json

import pytest
from packs import tiny_config

from videodit.config import ConfigError, from_saved, to_json
from videodit.resume import check_state, tell_changes

RATE = {"optim__learning_rate": 1.0, "optim__final_fraction": 0.0, "optim__warmup_steps": 0}


def config(**changes):
    return tiny_config(**{"steps": 100, **RATE, **changes})


def trained(**changes):
    """The config as a run has left it."""
    return from_saved(json.loads(to_json(config(**changes))))


@pytest.mark.parametrize("change", [{"matrices": "muon"}, {"power_averages": (0.05, 0.1)}])
def test_a_checkpoint_with_another_state_is_refused_by_field(tmp_path, change):
    cfg = config(**{f"optim__{name}": value for name, value in change.items()})
    (name,) = change
    with pytest.raises(ConfigError, match=rf"optim.{name}=.*: expected .*, as the checkpoints in"):
        check_state(cfg, config(), tmp_path)
    check_state(cfg, cfg, tmp_path)


def test_a_run_that_has_not_changed_says_nothing(caplog):
    tell_changes(config(losses__l1=0.5), trained(), 50)  # a section that a DiT does not use
    assert not caplog.records


# A cosine from 1 to 0 is 1/2 in its middle and 3/4 after its first third.
@pytest.mark.parametrize("changes, line", [
    ({"steps": 150}, "(then, now): steps: 100, 150; learning rate now: 0.5, 0.75 (optim.decay_from "
     "and optim.decay_to keep it: docs/training.md)"),
    ({"steps": 150, "optim__decay_to": 100},
     "(then, now): steps: 100, 150; optim.decay_to: 0, 100"),
    ({"optim__learning_rate": 2.0},
     "(then, now): optim.learning_rate: 1.0, 2.0; learning rate now: 0.5, 1"),
    ({"seed": 3, "flow__loss_per": "clip"},
     "(then, now): seed: 0, 3; flow.loss_per: 'token', 'clip'"),
])  # fmt: skip
def test_what_changes_is_one_line(caplog, changes, line):
    tell_changes(config(**changes), trained(), 50)
    (record,) = caplog.records
    assert record.getMessage() == f"the config has changed since the run stopped {line}"


def test_a_constant_phase_is_extended_without_a_change_of_the_rate(caplog):
    before, after = trained(optim__decay_from=80), config(steps=200, optim__decay_from=160)
    tell_changes(after, before, 70)
    assert "steps: 100, 200" in caplog.text and "learning rate" not in caplog.text
