from __future__ import annotations

import re

from pentimento.app.demo import SHOWN, make_demo


def test_the_page_stands_alone_and_shows_everything(tmp_path):
    folder = tmp_path / "demo"
    page = make_demo(folder, kimg={"gan": 1.0, "vae": 1.0, "cnn": 0.5, "classifier": 2.0}, count=200)
    text = page.read_text()
    # Two of each model, the VAE's reconstructions, a photograph restored and restyled, twice each, a counterfactual.
    assert text.count("data:image/png;base64,") == 12
    assert float(re.findall(r"comes within ([\d.]+) of 255", text)[0]) < 20
    value, low, high = map(
        float, re.findall(r"Effect on brightness: ([+-][\d.]+), 95 % interval (\S+) to (\S+)<", text)[0]
    )
    assert low <= value <= high < 0
    assert text.count("<li>dummy outcome: passed") == 1
    noisy, restored = map(float, re.findall(r"(?:clipped to 8 bits|restored): ([\d.]+) dB", text))
    assert restored > noisy + 5
    assert text.count("<polyline") == 6
    assert "nan" not in re.sub(r"base64,[^']*", "", text).lower()
    assert re.findall(r"(?:src|href)='(?!data:)([^']*)", text) == ["evaluation.html", "effect.html"]
    assert "{{" not in text
    assert {"generator/loss", "validation/loss", "cnn/loss"} <= set(re.findall(r"[\w]+/loss", text))
    table = text[text.index("<table class=measured>") :]
    assert all(f"<th>{name}" in table for name in ("gan", "vae", "cnn", *SHOWN))
    assert table.count("<td>") == 3 * len(SHOWN)
    evaluation = (folder / "evaluation.html").read_text()
    assert "label agreement" in evaluation
    assert "://" not in evaluation.replace("http://www.w3.org", "")

    tiny = {"gan": 0.1, "vae": 0.1, "cnn": 0.1, "classifier": 0.1}
    again = make_demo(folder, kimg=tiny, count=150)  # a second call replaces the first
    assert again == page
    assert "150 samples of each model" in again.read_text()
