import dataclasses
import json

import pytest

from videodit.config import (
    Config,
    ConfigError,
    defaults,
    differences,
    from_config_dict,
    from_json,
    to_dict,
)


def test_defaults_and_json_give_the_same_config():
    assert from_config_dict(defaults()) == Config()
    cfg = dataclasses.replace(Config(), steps=7)
    assert from_json(json.dumps(to_dict(cfg))) == cfg


def test_overrides_reach_the_typed_config():
    config = defaults()
    config.mesh.fsdp, config.data.modes.animate, config.sample.prompts = 2, 0.25, ("a", "b")
    cfg = from_config_dict(config)
    assert (cfg.mesh.fsdp, cfg.data.modes.animate) == (2, 0.25)
    assert cfg.sample.prompts == ("a", "b")


@pytest.mark.parametrize("values, message", [
    ({"optim": {"learning_rat": 1.0}}, "optim.learning_rat: did you mean 'learning_rate'"),
    ({"zzz": 1}, "unknown field zzz: known: task, seed"),
    ({"optim": {"learning_rate": "fast"}}, "optim.learning_rate='fast': expected a float"),
    ({"steps": 1.5}, "steps=1.5: expected a int"),
    ({"steps": True}, "steps=True"),
    ({"data": 3}, "data=3: expected a group of fields"),
    ({"sample": {"prompts": "a"}}, "sample.prompts='a': expected a tuple"),
    ({"dit": {"modulation": "none"}}, "dit.modulation='none': expected 'block' or 'shared'"),
    ({"flow": {"caption_dropout": 2.0}}, "flow.caption_dropout=2.0: expected a probability"),
    ({"data": {"rows_per_group": 12}}, "a multiple of data.batch_rows=8"),
    ({"optim": {"accumulate": 3}}, "optim.accumulate=3: expected a divisor"),
    ({"task": "dit"}, "task='dit'"),
    ({"autoencoder": {"channels": 769}}, "channels=769: expected at most the 768 numbers"),
    ({"losses": {"l1": -1.0}}, "losses.l1=-1.0: expected 0 or more"),
    ({"losses": {"squared": 0.0}}, "losses.squared=0.0: expected squared or l1 above 0"),
    ({"losses": {"crop": 0}}, "losses.crop=0: expected at least 1"),
    ({"losses": {"perceptual_features": "vgg"}}, "expected 'multiscale' or the path of an .npz"),
    ({"losses": {"discriminator_start": 9}}, "discriminator_start=9: expected 0 to .*=0"),
    ({"data": {"views": {"mirror": [[0, 0.5]]}}}, "mirror=.*: expected .* for this task"),
])  # fmt: skip
def test_a_wrong_field_or_value_is_named(values, message):
    with pytest.raises(ConfigError, match=message):
        from_json(json.dumps(values))


def test_differences_name_the_fields_of_the_parts_asked_for():
    a = Config()
    b = dataclasses.replace(a, steps=3, dit=dataclasses.replace(a.dit, size="XL"))
    assert differences(a, b, ("dit", "text")) == ["dit.size: 'S', 'XL'"]
    assert differences(a, b, ("steps",)) == ["steps: 1000, 3"]
