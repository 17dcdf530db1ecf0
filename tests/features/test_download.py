"""Fetching: whole or not at all, and known by its hash. No test reaches the network."""

from __future__ import annotations

import hashlib
import io
import urllib.error
import urllib.request
from email.message import Message

import pytest

from pentimento import features
from pentimento.errors import ModelError, NotFoundError
from pentimento.features import open_network
from pentimento.features.download import download, sha256_of

CONTENT = bytes(range(256)) * 8192  # 2 MiB: two pieces
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """The folder in a fresh cache where networks are kept."""
    monkeypatch.setenv("PENTIMENTO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "networks"


@pytest.fixture
def url(tmp_path):
    (tmp_path / "net.pth").write_bytes(CONTENT)
    return (tmp_path / "net.pth").as_uri()


@pytest.mark.parametrize("digits", [8, 64])
def test_fetched_once(kept, url, digits, tmp_path):
    reports = []
    path = download(url, DIGEST[:digits], reports.append)
    assert path == kept / "net.pth"
    assert sha256_of(path) == DIGEST
    assert [r.done for r in reports] == [len(CONTENT) / 2e6, len(CONTENT) / 1e6]
    assert reports[-1].done == reports[-1].total
    (tmp_path / "net.pth").unlink()
    assert download(url, DIGEST[:digits]) == path
    assert len(list(kept.iterdir())) == 1


def test_another_hash(kept, url):
    with pytest.raises(ModelError, match=f"its SHA-256 is {DIGEST}, not 00000000; nothing was kept"):
        download(url, "00000000")
    assert not list(kept.iterdir())
    (kept / "net.pth").write_bytes(b"by hand")
    with pytest.raises(ModelError, match=rf"net.pth: its SHA-256 is .*, not {DIGEST}; remove it"):
        download(url, DIGEST)
    assert (kept / "net.pth").read_bytes() == b"by hand"


@pytest.mark.parametrize("name", features.PUBLISHED)
def test_offline(name, kept, monkeypatch):
    def offline(*_, **__):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(urllib.request, "urlopen", offline)
    with pytest.raises(NotFoundError) as caught:
        open_network(name)
    url = features.PUBLISHED[name][0]
    assert str(caught.value) == (
        f"{name}: cannot fetch {url} (no route to host); put the file at "
        f"{kept / url.rpartition('/')[2]} by hand, or name a copy of it in its place"
    )
    assert not list(kept.iterdir())


def test_a_line_that_breaks(kept, url, monkeypatch):
    answer = io.BytesIO(CONTENT[:-5])
    answer.headers = Message()
    answer.headers["Content-Length"] = str(len(CONTENT))
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: answer)
    with pytest.raises(NotFoundError, match=r"cannot fetch .*\(.*5 more expected\)"):
        download(url, DIGEST)
    assert not list(kept.iterdir())


@pytest.mark.parametrize(("url", "digest"), features.PUBLISHED.values())
def test_the_hash_of_an_official_file_agrees_with_its_name(url, digest):
    assert digest.startswith(url.rpartition("-")[2].removesuffix(".pth"))
