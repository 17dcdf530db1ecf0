from __future__ import annotations

import tomllib

import pytest

from pentimento.errors import NotFoundError, RecipeError
from pentimento.training.recipe import dump, find_recipe, load_recipe, parse_recipe, recipe_names

MINIMAL = {"family": "vae", "training": {"total_kimg": 1}}


@pytest.mark.parametrize("name", recipe_names())
def test_shipped_recipes_are_whole_and_say_what_to_expect(name):
    text = find_recipe(name).read_text()
    header = text.split("\n\n")[0]
    assert all(f"# {word}" in header for word in ("command", "time", "score"))
    assert f"pentimento train {name} " in header
    recipe = load_recipe(find_recipe(name))
    assert parse_recipe(tomllib.loads(dump(recipe))) == recipe


def test_names():
    assert find_recipe("digits-gan").name == "digits-gan.toml"
    with pytest.raises(NotFoundError, match="did you mean 'digits-gan'"):
        find_recipe("digts-gan")


def test_a_file(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('family = "vae"\n[training]\ntotal_kimg = 3\n')
    assert load_recipe(find_recipe(str(path))).training.total_kimg == 3
    path.write_text("family = vae")
    with pytest.raises(RecipeError, match="not a TOML file"):
        load_recipe(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match="not a TOML file"):
        load_recipe(path)


@pytest.mark.parametrize(
    ("override", "found"),
    [
        ("training.total_kimg=5", lambda r: r.training.total_kimg == 5),
        ("data.fit=pad", lambda r: r.data.fit == "pad"),
        ('data.fit="pad"', lambda r: r.data.fit == "pad"),
        ("data.size_px=[64, 96]", lambda r: r.data.size_px == (64, 96)),
        ("model.width=7", lambda r: r.model["width"] == 7),
        ("players.vae.lr=0.5", lambda r: r.players["vae"].lr == 0.5),
        ("augment.mirror=true", lambda r: r.augment.mirror),
    ],
)
def test_overrides(override, found):
    assert found(load_recipe(find_recipe("digits-vae"), [override]))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.total_kmg=5", "training.total_kmg: unknown key; did you mean 'total_kimg'"),
        ("trainig.total_kimg=5", "trainig: unknown key; did you mean 'training'"),
        ("model.widht=5", "model.widht: unknown key; did you mean 'width'"),
        ("model.width=big", "model.width: should be a valid integer.*got 'big'"),
        ("model.width=0", "model.width: should be greater than or equal to 1, got 0"),
        ("family=vea", "family: unknown name 'vea'; did you mean 'vae'"),
        ("data.fit=crp", "did you mean 'crop'"),
        ("players.vae.schedule=cosin", "did you mean 'cosine'"),
        ("training.total_kimg=soon", "training.total_kimg: should be a valid number"),
        ("data.validation=1.0", "data.validation: should be less than 1, got 1.0"),
        ("augment.miror=true", "augment.miror: unknown key; did you mean 'mirror'"),
        ("model.spec=1", "model.spec: comes from the data"),
        ("total_kimg", "key=value expected, got 'total_kimg'"),
        ("family.name=x", "'family' in 'family.name' is a value"),
    ],
)
def test_what_is_wrong_is_said(override, message):
    with pytest.raises(RecipeError, match=message):
        load_recipe(find_recipe("digits-vae"), [override])


def test_all_problems_at_once():
    with pytest.raises(RecipeError) as caught:
        parse_recipe({"family": "gan", "model": {"backbone": "dcgn"}, "training": {"batch_size": 0}, "dta": {}})
    for part in ("'dcgan'", "training.total_kimg: missing", "training.batch_size: should be", "dta: unknown key"):
        assert part in str(caught.value)


def test_early_stopping_needs_validation():
    with pytest.raises(RecipeError, match="early_stopping_patience needs validate_every_kimg"):
        parse_recipe({**MINIMAL, "training": {"total_kimg": 1, "early_stopping_patience": 2}})


def test_what_a_restorer_is_told_is_what_the_chain_tells():
    from pentimento.training.session import _check_recipe

    def recipe(told, *steps):
        return parse_recipe(
            {"family": "restorer", "training": {"total_kimg": 1}, "model": {"told": told}, "degrade": list(steps)}
        )

    noise, jpeg = {"kind": "gaussian_noise"}, {"kind": "jpeg"}
    both = (recipe("jpeg", noise, jpeg), recipe("noise", noise, jpeg))
    for fitting in (recipe("noise", noise), *both, recipe("nothing", noise), recipe("noise")):
        _check_recipe(fitting, (0.0, 0.0))
    for other, units in ((recipe("jpeg", noise), "noise"), (recipe("noise", {"kind": "gray"}), "nothing")):
        with pytest.raises(
            RecipeError, match=rf"model.told: '\w+' expected of \[\[degrade\]\], whose steps tell {units}"
        ):
            _check_recipe(other, (0.0, 0.0))
