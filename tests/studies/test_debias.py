"""Studies of shortcuts, of a model whose every picture is known and of classifiers that look at one thing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from pentimento import images
from pentimento.data.packed import pack
from pentimento.data.sources import open_source
from pentimento.errors import DataError
from pentimento.model import DataSpec, Model
from pentimento.models.cgn import compose
from pentimento.studies import debias, debias_page

CLASSES = ("fox", "owl", "elk")
SIDE = 12
SPEC = DataSpec(channels=3, height_px=SIDE, width_px=SIDE, classes=CLASSES)


class Painter(Model):
    """Of class k, the k-th third of the columns is covered, and colour k is full; the ground is half as bright."""

    family = "painter"
    mechanisms = ("shape", "foreground", "background")

    def __init__(self, *, spec):
        super().__init__()
        self.one = torch.nn.Parameter(torch.ones(()))

    def draw_noise(self, draws, truncation=None):
        return {"shake": draws.uniform("shake", (1, 1, 1))}

    def parts(self, noise, condition):
        told = condition.mechanisms
        if told is None:
            told = condition.labels[:, None].expand(-1, 3)
        mask, ink, ground = (torch.nn.functional.one_hot(told[:, k], 3).float() for k in range(3))
        ink = ink[..., None, None] * (0.8 + 0.2 * noise["shake"])
        wide = mask.repeat_interleave(SIDE // 3, 1)[:, None, None, :].expand(-1, 1, SIDE, -1)
        return wide, ink.expand(-1, -1, SIDE, SIDE), 0.5 * ground[..., None, None].expand(-1, -1, SIDE, SIDE)

    def sample(self, noise, condition):
        return self.one * compose(*self.parts(noise, condition))


class Looks:
    """A classifier that answers with the class of what it looks at, ink or shape; it knows classes in its own order."""

    def __init__(self, at):
        self.at, self.spec = at, SPEC.model_copy(update={"classes": CLASSES[::-1]})

    def predict(self, pictures):
        bright = pictures.amax(1) > 0.6  # (N, H, W): where the ink is
        columns = bright[:, 0].view(len(pictures), 3, -1).float().mean(2)
        colours = (pictures * bright[:, None]).amax((2, 3))
        told = columns if self.at == "shape" else colours
        return {"probabilities": told.flip(1)}


@pytest.fixture(scope="module")
def model():
    return Painter(spec=SPEC).eval().requires_grad_(False)


def write_folder(folder, rows):
    """A picture and a row of metadata for each of `rows`."""
    folder.mkdir()
    names = list(rows[0])
    lines = [",".join(["file_name", *names])]
    for number, row in enumerate(rows):
        Image.fromarray(np.full((SIDE, SIDE, 3), number, np.uint8)).save(folder / f"{number}.png")
        lines.append(",".join([f"{number}.png", *row.values()]))
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n")
    return pack(open_source(str(folder)))


class TestPictures:
    def test_shapes_are_balanced_and_factors_are_independent_of_them(self, model):
        told = debias.balanced(model, 3000, 1, ["foreground"])
        assert told.labels.bincount().tolist() == [1000] * 3
        assert torch.equal(told.factors["background"], told.labels)
        pairs = (3 * told.labels + told.factors["foreground"]).bincount(minlength=9)
        assert pairs.min() > 333 - 4 * 15  # four standard deviations of a binomial(1000, 1/3)

    def test_every_mechanism_draws_what_it_was_told(self, model):
        drawn = debias.draw(model, debias.balanced(model, 40, 2, model.mechanisms[1:]), 2)
        assert torch.equal(debias.answers(Looks("shape"), drawn, CLASSES), drawn.labels)
        assert torch.equal(debias.answers(Looks("ink"), drawn, CLASSES), drawn.factors["foreground"])

    def test_the_folder_is_a_data_set_that_says_what_made_it(self, model, tmp_path):
        drawn = debias.draw(model, debias.balanced(model, 12, 3, model.mechanisms[1:]), 3)
        debias.write_counterfactuals(tmp_path, model, drawn, 3)
        read = debias.read_labelled(model, pack(open_source(str(tmp_path))), "--data")
        assert torch.equal(read.images, drawn.images)
        assert torch.equal(read.labels, drawn.labels)
        assert {k: v.tolist() for k, v in read.factors.items()} == {k: v.tolist() for k, v in drawn.factors.items()}
        record = images.describe(tmp_path / "000004.png")["provenance"]
        assert record["verb"] == "explain debias"
        assert record["options"]["shape"] == CLASSES[drawn.labels[4]]
        assert record["seed"] == 3


class TestComparing:
    def test_who_looks_at_the_shape_and_who_does_not(self, model):
        tests = debias.drawn_tests(model, 300, 5)
        scores = debias.compare({"shape": Looks("shape"), "ink": Looks("ink")}, tests, CLASSES)
        found = {(s.trained_on, s.test): s for s in scores}
        assert all(s.accuracy.value == 1 for s in scores if s.trained_on == "shape")
        assert found["shape", "foreground randomized"].reliance.value == 0
        assert found["ink", "background randomized"].accuracy.value == 1
        assert found["ink", "background randomized"].reliance.value == 0
        assert found["ink", "foreground randomized"].accuracy.value == pytest.approx(1 / 3, abs=0.11)
        assert found["ink", "foreground randomized"].reliance.value == 1
        assert found["ink", "all randomized"].reliance is None
        header, first, second, *_ = debias_page.score_table(scores)
        assert header == ["right answers, %", "pictures", "shape", "ink"]
        assert first[:3] == ["foreground randomized", "300", "100.0 (98.7 to 100.0)"]
        assert second[0] == "- answers with the foreground's class"

    def test_of_given_pictures_those_in_which_the_others_agree(self):
        labels = torch.tensor([0, 0, 0, 1])
        factors = {"foreground": torch.tensor([0, 1, 1, 1]), "background": torch.tensor([0, 0, 2, 2])}
        test = debias.Labelled(torch.arange(4, dtype=torch.uint8)[:, None, None, None], labels, factors)
        found = {t.name: t.pictures.images.flatten().tolist() for t in debias.given_tests(test, tuple(factors))}
        assert found == {
            "foreground randomized": [0, 1],
            "background randomized": [0, 3],
            "all randomized": [0, 1, 2, 3],
        }
        assert [t.name for t in debias.given_tests(test, ("foreground",))] == ["foreground randomized"]
        assert debias.given_tests(debias.Labelled(test.images, labels), tuple(factors)) == []

    def test_what_is_held_out_is_not_learned_from(self):
        pictures = debias.Labelled(torch.arange(50, dtype=torch.uint8)[:, None, None, None], torch.arange(50))
        learned, held = debias.split(pictures, 0)
        assert len(held.pictures) == 5
        assert sorted([*learned.labels.tolist(), *held.pictures.labels.tolist()]) == list(range(50))

    def test_a_classifier_that_saw_counterfactual_pictures_lets_the_colours_be(self, model, tmp_path):
        """The ink is the easier cue: a classifier of entangled pictures follows it, another one does not."""
        recipe = debias.make_recipe(SPEC, 2.0, 0)
        tests = [t for t in debias.drawn_tests(model, 90, 7) if t.name == "all randomized"]
        made = {}
        for name, free in (("original", []), ("counterfactual", model.mechanisms[1:])):
            pictures = debias.draw(model, debias.balanced(model, 90, 8, free), 8)
            made[name] = debias.train_on([pictures], SPEC, recipe, tmp_path / name)
        entangled, freed = debias.compare(made, tests, CLASSES)
        assert freed.accuracy.value == 1
        assert entangled.accuracy.high < freed.accuracy.low


class TestRefusals:
    @pytest.mark.parametrize(
        ("labels", "said"),
        [
            (["fox", "fox"], "--data: own has one class, fox; two or more expected"),
            (["fox", "owls"], "--data: the model knows no class 'owls'; did you mean 'owl'"),
            (["fox", "owl"], "--data: own has no pictures of elk, which the model knows"),
        ],
    )
    def test_classes(self, model, tmp_path, labels, said):
        dataset = write_folder(tmp_path / "own", [{"label": label} for label in labels])
        with pytest.raises(DataError, match=said):
            debias.read_labelled(model, dataset, "--data")

    def test_no_labels(self, model, tmp_path):
        dataset = write_folder(tmp_path / "own", [{"age": "3"}, {"age": "4"}])
        with pytest.raises(DataError, match="--test: own has no labels; put the pictures into one folder for each"):
            debias.read_labelled(model, dataset, "--test")

    def test_a_factor_of_an_unknown_class(self, model, tmp_path):
        rows = [{"label": label, "foreground": "elkk" if label == "elk" else label} for label in CLASSES]
        dataset = write_folder(tmp_path / "own", rows)
        said = "--test: foreground is 'elkk' in the metadata, which is no class of the model; did you mean 'elk'"
        with pytest.raises(DataError, match=said):
            debias.read_labelled(model, dataset, "--test")
