from __future__ import annotations

import re

from pentimento.app.demo import make_demo


def test_the_page_stands_alone_and_shows_everything(tmp_path):
    page = make_demo(tmp_path / "demo", kimg={"gan": 1.0, "vae": 1.0})
    text = page.read_text()
    assert text.count("data:image/png;base64,") == 5  # samples and a walk of each, reconstructions of the VAE
    assert text.count("<polyline") == 4
    assert "nan" not in re.sub(r"base64,[^']*", "", text).lower()
    assert not re.findall(r"(?:src|href)='(?!data:)", text)
    assert "generator/loss" in text
    assert "validation/loss" in text
    again = make_demo(tmp_path / "demo", kimg={"gan": 0.5, "vae": 0.5})  # a second call replaces the first
    assert again == page
