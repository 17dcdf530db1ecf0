"""Counterfactual pictures where the answer is known, and what a recipe with edges refuses."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from pentimento import load
from pentimento.causal.scm import StructuralModel
from pentimento.data.packed import pack
from pentimento.data.shapes import ShapesSource
from pentimento.data.sources import open_source
from pentimento.errors import CausalError, DataError, ModelError, NotFoundError, RecipeError
from pentimento.models import build, save
from pentimento.runtime import no_progress
from pentimento.studies.counterfactual import abduct, counterfactual, predict, read_values, warnings_of
from pentimento.studies.scm import Causes, World, attribute_graph, columns_of, image_graph, open_world
from pentimento.training.recipe import parse_recipe


def test_a_counterfactual_is_the_one_that_can_be_written_down(world, rows):
    images, values = rows
    found = counterfactual(world, images, values, {"a": 0.5})
    after_b = values["b"] + 2 * (0.5 - values["a"])
    torch.testing.assert_close(found.values["b"], after_b)
    wanted = images.clone()
    wanted[:, 0, 0, 0], wanted[:, 0, 0, 1] = 0.4 + 0.05 * 0.5, (0.4 + 0.05 * after_b).float()
    torch.testing.assert_close(found.images, wanted)  # what the model does not know is carried over
    bare = counterfactual(world, images, values, {"a": 0.5}, residual=False).images
    torch.testing.assert_close(bare[..., :3], wanted[..., :3])
    assert torch.allclose(bare[..., 3], torch.tensor(0.4))


def test_total_is_direct_plus_indirect_in_a_linear_world(world, rows):
    images, values = rows
    kept = abduct(world, images, values)
    total = predict(world, kept, {"a": 0.5})
    direct = predict(world, kept, {"a": 0.5}, hold=["b"])
    indirect = predict(world, kept, {"b": total.values["b"]})
    assert torch.equal(direct.values["b"], values["b"])
    changes = [found.images - images for found in (total, direct, indirect)]
    torch.testing.assert_close(changes[0], changes[1] + changes[2])


def test_nothing_set_gives_the_picture_itself(world, rows):
    images, values = rows
    for do in ({}, {"a": values["a"]}, {"b": values["b"], "a": values["a"]}):
        found = counterfactual(world, images, values, do)
        assert torch.equal(found.images, images) and torch.equal(found.values["b"], values["b"])
    some = values["a"].clone()
    some[3] = 0.25
    changed = (counterfactual(world, images, values, {"a": some}).images != images).flatten(1).any(1)
    assert changed.nonzero().flatten().tolist() == [3]


def test_there_and_back_again(world, rows):
    images, values = rows
    there = counterfactual(world, images, values, {"a": -0.9})
    back = counterfactual(world, there.images, there.values, {"a": values["a"]})
    torch.testing.assert_close(back.images, images)
    torch.testing.assert_close(back.values["b"], values["b"])


def test_a_row_is_the_same_in_any_company(world, rows):
    images, values = rows
    together = counterfactual(world, images, values, {"a": 0.5}).images
    alone = counterfactual(world, images[39:], {"a": values["a"][39:], "b": values["b"][39:]}, {"a": 0.5}).images
    assert torch.equal(together[39:], alone)


def test_doubts_are_told(world, rows):
    images, values = rows
    odd = images[:1].clone()
    odd[..., 2] = 0.4 + 0.05 * 9  # a latent of 9
    found = counterfactual(world, odd, {"a": -1.0, "b": float(values["b"][0])}, {"a": 2.5})
    said = " | ".join(warnings_of(world, found))
    assert "a=2.5: 1.5 outside what was seen, -1 to 1 (75% of its width)" in said
    assert "it follows that b=" in said and "latent: of length 9.0; 1 picture of 1,000 goes beyond 3.3" in said
    assert "a: its noise is" in said  # at the very edge of its range
    plain = 0.4 + 0.05 * torch.tensor([0.1, 0.8, 0.0, 0.0])[None, None, None]
    assert warnings_of(world, counterfactual(world, plain, {"a": 0.1, "b": 0.8}, {"a": 0.2})) == []


@pytest.mark.parametrize(
    ("do", "hold", "message"),
    [
        ({"aa": 1.0}, (), "--do: the model has no attribute 'aa'; did you mean 'a'"),
        ({"image": 1.0}, (), "--do: image is the picture itself; name one of a, b"),
        ({"a": 1.0}, ("c",), "--hold: the model has no attribute 'c'"),
        ({"a": 1.0}, ("a",), "--hold: a is what --do sets"),
        ({"a": "thick"}, (), "a: a number, -1 to 1, expected, got 'thick'"),
    ],
)
def test_what_cannot_be_set(world, rows, do, hold, message):
    with pytest.raises(CausalError, match=message):
        predict(world, abduct(world, *rows), do, hold)


def test_what_cannot_be_abducted(world, rows):
    images, values = rows
    with pytest.raises(CausalError, match=r"images: \(N, 1, 1, 4\) expected, got \(40, 1, 1, 3\)"):
        abduct(world, images[..., :3], values)
    with pytest.raises(CausalError, match="a value of b is missing"):
        abduct(world, images, {"a": values["a"]})
    with pytest.raises(CausalError, match="b: one value, or 40, one a picture, expected, got 7"):
        abduct(world, images, {**values, "b": values["b"][:7]})


# ------------------------------------------------------------------------------------------ saved and loaded
def test_saved_and_loaded_it_answers_alike(world, tmp_path):
    model = build("vae", {"spec": world.model.spec, "attributes": ("b", "a"), "backbone": "mlp", "width": 2})
    save(model, tmp_path / "m", "# card\n")
    with pytest.raises(NotFoundError, match=r"no scm.json beside the weights.*train with a recipe that has edges"):
        open_world(str(tmp_path / "m"))
    world.attributes.save(tmp_path / "m")
    opened = open_world(str(tmp_path / "m"))
    assert opened.parents == ("a", "b") and opened.graph.parents("image") == ("a", "b")
    x = torch.rand(3, 1, 1, 4)
    values, do = {"a": 0.1, "b": 0.3}, {"a": 0.4}
    again = type(opened)(load(tmp_path / "m"), world.attributes)
    assert torch.equal(counterfactual(opened, x, values, do).images, counterfactual(again, x, values, do).images)
    save(build("vae", {"spec": world.model.spec, "backbone": "mlp", "width": 2}), tmp_path / "m", "# card\n")
    with pytest.raises(ModelError, match="has no mechanism of image"):
        open_world(str(tmp_path / "m"))


def test_a_label_is_an_attribute_too():
    dataset = pack(ShapesSource(60))
    graph = image_graph(["label -> image", "background -> image", "x -> image"])
    spec = dataset.spec((8, 8))
    model = build("vae", {"spec": spec, "conditional": True, "attributes": ("background", "x"), "backbone": "mlp"})
    world = World(model.eval(), StructuralModel.fit(attribute_graph(graph), columns_of(dataset)))
    assert world.parents == ("label", "background", "x")
    told = world.condition(
        {"label": ["star", "circle"], "background": ["plain", "checks"], "x": torch.tensor([0.4, 0.5])}
    )
    assert [spec.classes[k] for k in told.labels] == ["star", "circle"]
    names = [a.name for a in spec.attributes]
    assert spec.attribute("background").values[int(told.attributes[1, names.index("background")])] == "checks"
    assert told.attributes[:, names.index("x")].tolist() == pytest.approx([0.4, 0.5])
    found = counterfactual(
        world, torch.rand(2, 3, 8, 8), {"label": "star", "background": "plain", "x": 0.4}, {"label": "square"}
    )
    assert found.values["label"] == ["square"] * 2 and found.values["background"] == ["plain"] * 2
    assert read_values(world, {"label": "circle"}, "--do") == {"label": "circle"}


# --------------------------------------------------------------------------------------- recipes with edges
def recipe(edges, family="vae", **model):
    return parse_recipe({"family": family, "edges": edges, "model": model, "training": {"total_kimg": 0.1}})


def test_what_the_model_is_told_follows_from_the_graph():
    causes = Causes(recipe(["label -> x", "label -> image", "y -> image"]), [])
    dataset = pack(ShapesSource(60))
    told, finish = causes(recipe(["x -> image"]), dataset, dataset.split(0, 0.1)[0], False)
    assert told.model == {"attributes": ["y"], "conditional": True} and finish is not None
    columns = columns_of(dataset, dataset.split(0, 0.1)[0])
    assert columns["label"] == columns["shape"] and len(columns["x"]) < 60
    assert attribute_graph(causes.graph).nodes == ("label", "x", "y")


@pytest.mark.parametrize(
    ("edges", "error", "message"),
    [
        (["a -> b", "b -> a", "a -> image"], CausalError, "graph: a cycle, a -> b -> a"),
        (["a -> b"], RecipeError, "edges: nothing acts on 'image'"),
        (["a -> image", "image -> b"], RecipeError, "edges: image -> b: the picture is what attributes cause"),
        (["a -> image", "a <-> b"], RecipeError, "edges: a <-> b"),
        (["a > image"], CausalError, "'a -> b' or 'a <-> b' expected, got 'a > image'"),
    ],
)
def test_edges_that_are_no_graph_of_a_picture(edges, error, message):
    with pytest.raises(error, match=message):
        image_graph(edges)


def test_settings_that_contradict_the_graph():
    edges = ["a -> image", "b -> image"]
    with pytest.raises(RecipeError, match=r"model.attributes: follows from edges, by which a, b act on the picture"):
        Causes(recipe(edges, attributes=["a"]), [])
    with pytest.raises(RecipeError, match=r"model.conditional: follows from edges.*False expected, got True"):
        Causes(recipe(edges, conditional=True), [])
    with pytest.raises(RecipeError, match="edges: a 'gan' finds no latent of a picture.*families: vae"):
        Causes(recipe(edges, family="gan"), [])
    Causes(recipe(edges, attributes=["b", "a"], conditional=False), [])


def test_tables_that_show_no_mechanism(tmp_path):
    def ask(edges, table):
        folder = tmp_path / f"d{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        lines = ["file_name,thickness,kind"]
        for i in range(60):
            Image.new("L", (4, 4), i).save(folder / f"{i}.png")
            lines.append(f"{i}.png,{table(i)}")
        (folder / "metadata.csv").write_text("\n".join(lines) + "\n")
        dataset = pack(open_source(str(folder)))
        Causes(recipe(edges), [], no_progress)(recipe(edges), dataset, dataset.split(0, 0)[0], True)

    with pytest.raises(CausalError, match="no column for the node 'thicknes'; did you mean 'thickness'"):
        ask(["thicknes -> image"], lambda i: f"{i},a")
    with pytest.raises(CausalError, match="column 'thickness': all 60 values are 2"):
        ask(["thickness -> image"], lambda i: "2,a")
    with pytest.raises(DataError, match="column 'thickness': 1 of 60 values are missing, the first for 7.png"):
        ask(["thickness -> image"], lambda i: f"{'' if i == 7 else i},a")
