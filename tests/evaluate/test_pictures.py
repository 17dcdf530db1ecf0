"""Whose pictures are held against whose, and what models are told of them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from pentimento.data.items import Item
from pentimento.data.packed import pack
from pentimento.errors import EvaluationError
from pentimento.evaluate.call import Settings
from pentimento.evaluate.likelihood import MARGINAL, log_likelihoods
from pentimento.evaluate.measure import measure
from pentimento.evaluate.pictures import Pictures, Reference, Subject, condition_for, draw_samples, open_folder
from pentimento.evaluate.records import compare
from pentimento.features import FeatureNetwork, Features
from pentimento.model import Attribute, Condition, DataSpec, Origin
from pentimento.models import build

SPEC = DataSpec(channels=1, height_px=4, width_px=4, classes=("a", "b", "c"))


class Pixels(FeatureNetwork):
    """The pixels themselves."""

    kind, name, sha256, dim = "pixels", "pixels", "0", 16

    def forward(self, images):
        return Features(images.flatten(1))


def make_model(family="vae", spec=SPEC, **config):
    torch.manual_seed(0)
    model = build(family, {"spec": spec, "width": 2, "conditional": bool(spec.classes), **config}).eval()
    model.origin = Origin(family, "0")
    return model


def make_pictures(count=60, spec=SPEC, labels=None, attributes=None, seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, *spec.image_shape), generator=generator, dtype=torch.uint8)
    return Pictures("data", images, Condition(labels, attributes), "1", spec)


def make_source(count, per_class, split="train"):
    class Source:
        name = "source"

        def __init__(self):
            self.count = count

        def content_hash(self):
            return f"{split}-{count}-{per_class}"

        def items(self):
            generator = torch.Generator().manual_seed(len(split))
            for i in range(count):
                pixels = torch.randint(0, 256, (4, 4, 1), generator=generator, dtype=torch.uint8).numpy()
                yield Item(f"{i:04d}", pixels, "abc"[i // per_class])

    return Source()


# ------------------------------------------------------------------------------------------------- what is told
def test_labels_and_values_go_by_name():
    paper = Attribute(name="paper", kind="categorical", values=("laid", "wove"))
    ink = Attribute(name="ink", low=0.0, high=1.0)
    model = make_model(spec=SPEC.model_copy(update={"attributes": (ink, paper)}), attributes=("paper",))
    turned = Attribute(name="paper", kind="categorical", values=("wove", "laid"))
    theirs = SPEC.model_copy(update={"classes": ("c", "a"), "attributes": (turned,)})
    given = make_pictures(2, theirs, torch.tensor([0, 1]), torch.tensor([[0.0], [1.0]]))
    told = condition_for(model, given)
    assert told.labels.tolist() == [2, 0]
    assert told.attributes.tolist() == [[0.0, 1.0], [0.0, 0.0]]


@pytest.mark.parametrize(
    ("spec", "labels", "said"),
    [
        (SPEC.model_copy(update={"classes": ("a", "bb")}), [0, 1], "class 'bb' is unknown to the model"),
        (SPEC.model_copy(update={"classes": ()}), None, "have no labels, and the model is told one"),
    ],
)
def test_what_a_model_cannot_be_told(spec, labels, said):
    given = make_pictures(2, spec, None if labels is None else torch.tensor(labels))
    with pytest.raises(EvaluationError, match=said):
        condition_for(make_model(), given)


def test_samples_are_asked_for_as_often_as_the_data_has_their_labels():
    reference = make_pictures(40, labels=torch.arange(40) // 30)  # 30 of a, 10 of b, in this order
    asked = draw_samples(make_model(), reference, 80, 0).condition.labels
    assert torch.bincount(asked, minlength=3).tolist() == [60, 20, 0]
    assert len(set(asked[:10].tolist())) == 2


# --------------------------------------------------------------------------------------------------- the parts
def test_some_of_data_that_lie_class_by_class_are_of_all_classes(tmp_path):
    dataset = pack(make_source(90, 30), cache=tmp_path)
    subject = open_folder(dataset, 30)
    assert subject.count == len(subject.pictures) == 30
    assert torch.bincount(subject.pictures.condition.labels).min() > 4
    assert torch.equal(subject.pictures.images, open_folder(dataset, 30).pictures.images)
    reference = Reference(dataset, dataset, None, None, 0.05)
    assert torch.bincount(reference.training.some(30).condition.labels).min() > 4


def test_whatever_samples_are_held_against_training_pictures_are_those_of_training(tmp_path):
    train, test = pack(make_source(90, 30), cache=tmp_path), pack(make_source(40, 20, "test"), cache=tmp_path)
    against_test = Reference(test, train, test, None, 0.2)
    seen, unseen = train.split(0.0, 0.2)
    assert len(against_test.pictures) == len(against_test.held_out) == 40
    assert len(against_test.training) == len(seen)
    alone = Reference(train, train, None, None, 0.2)
    assert len(alone.held_out) == len(unseen)
    features = alone.pictures.features(Pixels()).vectors
    assert torch.equal(alone.training.features(Pixels()).vectors, features[torch.from_numpy(seen)])


# -------------------------------------------------------------------------------------------------- likelihood
def test_the_likelihood_without_the_label_is_the_sum_over_labels():
    model, pictures = make_model("cnn", likelihood="bernoulli"), make_pictures(5, labels=torch.tensor([0, 1, 2, 0, 1]))
    shares = torch.tensor([0.5, 0.3, 0.2])
    found = log_likelihoods(model, pictures, 1, 0, shares)
    each = [
        log_likelihoods(model, replace(pictures, condition=Condition(torch.full((5,), k))), 1, 0)["log_likelihood"]
        for k in range(3)
    ]
    expected = torch.stack(each).double().exp().T @ shares.double()
    assert found["log_likelihood" + MARGINAL].double() == pytest.approx(expected.log(), rel=1e-5)
    assert found["log_likelihood"][1] == each[1][1]


def test_likelihoods_of_different_pixels_or_knowledge_do_not_compare(tmp_path):
    dataset = pack(make_source(90, 30), cache=tmp_path)
    reference = Reference(dataset, dataset, pack(make_source(40, 20, "test"), cache=tmp_path), None, 0.0)
    settings = Settings(Pixels(), scored=30, importance_samples=2)

    def elbo(**config):
        model = make_model(**config)
        subject = Subject("vae", "vae", "0", 20, make_pictures, model)
        return measure(subject, reference, settings, ["likelihood"]).metrics[0]

    first = elbo(likelihood="bernoulli")
    assert compare(first, elbo(likelihood="bernoulli")).value == 0
    for other, said in (
        ({"likelihood": "gaussian"}, "gaussian"),
        ({"likelihood": "bernoulli", "conditional": False}, "nothing"),
    ):
        with pytest.raises(Exception, match=f"not comparable.*{said}"):
            compare(first, elbo(**other))
