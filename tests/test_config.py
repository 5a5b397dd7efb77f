import dataclasses
import json

import pytest

from videodit.config import (
    Config,
    ConfigError,
    changed,
    check_field,
    defaults,
    differences,
    from_config_dict,
    from_saved,
    refuse_old_name,
    to_dict,
    to_json,
)
from videodit.config.renamed import RENAMED


def test_defaults_and_json_give_the_same_config():
    assert from_config_dict(defaults()) == Config()
    cfg = dataclasses.replace(Config(), steps=7)
    assert from_saved(to_dict(cfg)) == cfg


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
    ({"losses": {"regularisation_noise": 0.0}}, "regularisation_noise=0.0: expected above 0"),
    ({"flow": {"shift_tokens": 0}}, "flow.shift_tokens=0: expected at least 1"),
    ({"flow": {"logit_std": -1}}, "flow.logit_std=-1.0: expected 0 or more"),
    ({"optim": {"learning_rate": -1}}, "optim.learning_rate=-1.0: expected 0 or more"),
    ({"optim": {"weight_decay": -1}}, "optim.weight_decay=-1.0: expected 0 or more"),
    ({"optim": {"final_fraction": -1}}, "optim.final_fraction=-1.0: expected 0 or more"),
    ({"optim": {"warmup_steps": -1}}, "optim.warmup_steps=-1: expected 0 or more"),
    ({"optim": {"b1": 1}}, "optim.b1=1.0: expected 0 or more, below 1"),
    ({"optim": {"b2": -0.1}}, "optim.b2=-0.1: expected 0 or more, below 1"),
    ({"optim": {"clip_norm": 0}}, "optim.clip_norm=0.0: expected above 0"),
    ({"mesh": {"cpu_devices": -1}}, "mesh.cpu_devices=-1: expected 0 or more"),
    ({"sample": {"size": "64"}}, "^sample.size='64': expected WIDTHxHEIGHT"),
    ({"sample": {"fps": 0}}, "^sample.fps=0.0: expected 0.01 to 1000"),
    ({"sample": {"frames": 0}}, "^sample.frames=0: expected at least 1"),
    ({"sample": {"guidance": -1}}, "^sample.guidance=-1.0: expected 0 or more"),
    ({"sample": {"prompts": [" "]}}, "^sample.prompts=.*: expected descriptions"),
    ({"losses": {"crop": 0}}, "losses.crop=0: expected at least 1"),
    ({"losses": {"perceptual_features": "vgg"}}, "expected 'multiscale' or the path of an .npz"),
    ({"losses": {"discriminator_start": 9}}, "discriminator_start=9: expected 0 to .*=0"),
    ({"data": {"views": {"mirror": [[0, 0.5]]}}}, "mirror=.*: expected .* for this task"),
])  # fmt: skip
def test_a_wrong_field_or_value_is_named(values, message):
    with pytest.raises(ConfigError, match=message):
        from_saved(values)


def test_a_field_that_changes_models_is_off_for_runs_that_are_older():
    assert not from_saved({}).dit.places
    assert from_saved(json.loads(to_json(Config()))).dit.places


def test_a_learning_rate_of_0_is_allowed():
    assert from_saved({"optim": {"learning_rate": 0}}).optim.learning_rate == 0


@pytest.mark.parametrize("name, message", [
    ("optim.lr", "unknown field optim.lr: known: learning_rate, "),
    ("optim.learning_rat", "unknown field optim.learning_rat: did you mean 'learning_rate'"),
    ("data.vie.sides", "unknown field data.vie: did you mean 'views'"),
    ("steps.most", "unknown field steps.most: steps has no fields"),
    ("sampl.size", "unknown field sampl: did you mean 'sample'"),
])  # fmt: skip
def test_an_unknown_field_is_named_with_its_group(name, message):
    with pytest.raises(ConfigError, match=message):
        check_field(name)
    for known in ("optim.learning_rate", "data.views.sides[0][1]", "sample.size", "steps"):
        check_field(known)


def test_differences_name_the_fields_of_the_parts_asked_for():
    a = Config()
    b = dataclasses.replace(a, steps=3, dit=dataclasses.replace(a.dit, size="XL"))
    assert differences(a, b, ("dit", "text")) == ["dit.size: 'S', 'XL'"]
    assert differences(a, b, ("steps",)) == ["steps: 1000, 3"]


OLD = {
    "task": "autoencoder",
    "data": {
        "tasks": {"generate": 0.5},
        "sampling": {"sides": [[0, 32, 64]]},
        "rows_per_window": 16,
    },
}


def test_a_config_json_of_an_older_version_is_read_by_its_new_names():
    data = from_saved(OLD).data
    assert (data.modes.generate, data.views.sides) == (0.5, ((0, 32, 64),))
    assert data.rows_per_group == 16
    both = {"data": {"tasks": {}, "modes": {}}}
    with pytest.raises(ConfigError, match=r"data.tasks is now called data.modes: expected one"):
        from_saved(both)


def test_every_old_name_has_a_field_to_go_to():
    for old, new in RENAMED.items():
        section, name = new.split(".")
        assert name in defaults()[section] and old.split(".")[1] not in defaults()[section]


def test_an_old_name_in_a_config_file_or_on_the_command_line_is_told_the_new_one():
    config = defaults()
    with config.unlocked():
        config.data.rows_per_window = 16
    with pytest.raises(ConfigError, match=r"^data\.rows_per_window is now called data\.rows_per_g"):
        from_config_dict(config)
    with pytest.raises(ConfigError, match=r"^data\.sampling\.sides is now called data\.views\.si"):
        refuse_old_name("data.sampling.sides")
    refuse_old_name("data.views.sides")


def test_fields_are_changed_by_dotted_names():
    cfg = changed(Config(), {"sample.prompts": ("a",), "data.batch_rows": 4})
    assert (cfg.sample.prompts, cfg.data.batch_rows) == (("a",), 4)
    with pytest.raises(ConfigError, match=r"optim\.accumulate=3"):
        changed(cfg, {"optim.accumulate": 3})


def test_config_json_leaves_out_the_sections_of_other_tasks():
    written = json.loads(to_json(Config(task="autoencoder")))
    assert "losses" in written and not {"flow", "sample"} & set(written)
