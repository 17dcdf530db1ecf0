"""Which files go in and where results go."""

from __future__ import annotations

from pathlib import Path

import pytest

from pentimento.errors import ExistsError, ImageError, InputError, NotFoundError
from pentimento.tasks.files import Job, plan_jobs


@pytest.fixture
def photos(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "b.JPG", "sub/a.png", "sub/c.bmp", "notes.txt", ".hidden.png"):
        Path("in", name).parent.mkdir(parents=True, exist_ok=True)
        Path("in", name).write_bytes(b"x")
    return tmp_path


def targets(*inputs, out="out", **options):
    return [str(job.target) for job in plan_jobs(inputs, Path(out), **options)[0]]


def test_a_file_a_folder_and_a_pattern(photos):
    assert plan_jobs(["in/a.png"], Path("new.tif")) == ([Job(Path("in/a.png"), Path("new.tif"))], [])
    assert targets("in/a.png") == ["out/a.png"]
    assert targets("in") == ["out/a.png", "out/b.JPG", "out/sub/a.png", "out/sub/c.png"]
    assert targets("in/*.png") == ["out/a.png"]
    assert targets("in/**/*.bmp", "in/a.png") == ["out/c.png", "out/a.png"]


def test_in_place(photos):
    jobs, _ = plan_jobs(["in/a.png", "in/b.JPG"], None, in_place=True)
    assert all(job.source == job.target for job in jobs)
    with pytest.raises(ImageError, match="--in-place: cannot write c.bmp"):
        plan_jobs(["in/sub"], None, in_place=True)
    with pytest.raises(InputError, match="leave --out away"):
        plan_jobs(["in/a.png"], Path("out"), in_place=True)


def test_what_is_there_already(photos):
    Path("out").mkdir()
    Path("out/a.png").write_bytes(b"old")
    with pytest.raises(ExistsError, match=r"out/a.png: exists; .*--overwrite or --skip-existing"):
        targets("in")
    assert targets("in", overwrite=True)[0] == "out/a.png"
    jobs, there = plan_jobs(["in"], Path("out"), skip_existing=True)
    assert there == [Path("out/a.png")]
    assert len(jobs) == 3
    with pytest.raises(InputError, match="one or the other"):
        targets("in", overwrite=True, skip_existing=True)


def test_an_output_that_is_an_input_is_refused_however_it_is_spelled(photos):
    Path("link").symlink_to("in")
    for out in ("in/a.png", "in/sub/../a.png", "link/a.png", str(photos / "in" / "a.png")):
        with pytest.raises(ExistsError, match="is an input"):
            targets("in/a.png", out=out, overwrite=True)
    with pytest.raises(ExistsError, match="is an input"):
        targets("in", out="in", overwrite=True)


def test_wishes_that_cannot_be_met(photos):
    with pytest.raises(NotFoundError, match="in/aa.png: no such file; did you mean 'in/a.png'"):
        targets("in/aa.png")
    with pytest.raises(NotFoundError, match=r"in/\*.gif: no picture matches"):
        targets("in/*.gif")
    Path("empty").mkdir()
    with pytest.raises(NotFoundError, match="empty: no pictures in this folder"):
        targets("empty")
    with pytest.raises(InputError, match="4 pictures do not fit into out.png; give a folder"):
        targets("in", out="out.png")
    with pytest.raises(InputError, match=r"in/a.png and in/sub/a.png would both become"):
        targets("in/a.png", "in/sub/a.png")
    with pytest.raises(ImageError, match=r"--out: cannot write new.gif; .*\.png"):
        targets("in/a.png", out="new.gif")
    with pytest.raises(InputError, match="no picture given"):
        targets()
    with pytest.raises(InputError, match="--out: where to write is missing"):
        plan_jobs(["in/a.png"], None)
