"""Which files go in and where results go."""

from __future__ import annotations

from pathlib import Path

import pytest

from pentimento.errors import ExistsError, ImageError, InputError, NotFoundError
from pentimento.tasks.files import Job, check_writable, plan_jobs


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
    assert targets("in/**/*.bmp", "in/a.png") == ["out/sub/c.png", "out/a.png"]


def test_strings_and_paths_and_only_one(photos):
    one = plan_jobs(["in/a.png"], Path("out"))
    assert (
        one
        == plan_jobs("in/a.png", "out")
        == plan_jobs(Path("in/a.png"), "out")
        == plan_jobs([Path("in/a.png")], "out")
    )


def test_pictures_of_a_pattern_keep_their_places(photos):
    assert targets("in/**/a.png") == ["out/a.png", "out/sub/a.png"]
    assert targets("i?/sub/a.png", str(photos / "*/sub/c*")) == ["out/in/sub/a.png", "out/in/sub/c.png"]


def test_what_shows_a_change_is_no_picture_to_change(photos):
    for name in ("b-before-after.png", "b-changes.png", "of-changes.png"):
        Path("in", name).write_bytes(b"x")
    assert targets("in/*.png") == ["out/a.png", "out/of-changes.png"]  # of nothing that is there
    assert "out/b-changes.png" not in targets("in")
    assert targets("in/b-changes.png") == ["out/b-changes.png"]


def test_in_place(photos):
    jobs, _ = plan_jobs(["in/a.png", "in/b.JPG"], None, in_place=True)
    assert all(job.source == job.target for job in jobs)
    with pytest.raises(ImageError, match=r"--in-place: in/sub/c.bmp cannot be written, only .*; with --out it becomes"):
        plan_jobs(["in/sub/c.bmp"], None, in_place=True)
    first, second = plan_jobs(["in/sub"], None, in_place=True)[0]
    check_writable(first)
    with pytest.raises(ImageError, match=r"--in-place: in/sub/c.bmp"):
        check_writable(second)
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


def test_a_folder_of_results_among_its_inputs_is_not_done_again(photos):
    assert targets("in", out="in/made") == ["in/made/a.png", "in/made/b.JPG", "in/made/sub/a.png", "in/made/sub/c.png"]
    for name in ("made/a.png", ".thumbnails/a.png"):
        Path("in", name).parent.mkdir()
        Path("in", name).write_bytes(b"x")
    jobs, there = plan_jobs(["in"], Path("in/made"), skip_existing=True)
    assert there == [Path("in/made/a.png")]
    assert [str(job.source) for job in jobs] == ["in/b.JPG", "in/sub/a.png", "in/sub/c.bmp"]
    assert targets("in/sub", out="in", overwrite=True) == ["in/a.png", "in/c.png"]  # not below what is read


def test_what_is_named_twice_is_done_once(photos):
    twice = ["in/sub/a.png", "in/sub/*.png", str(photos / "in/sub/a.png")]
    assert targets(*twice) == ["out/a.png"]
    Path("in/sub/link.png").symlink_to("a.png")
    jobs, _ = plan_jobs([*twice, "in/sub/link.png"], None, in_place=True)
    assert jobs == [Job(Path("in/sub/a.png"), Path("in/sub/a.png"))]


def test_in_place_a_link_stays_a_link(photos):
    Path("link.png").symlink_to("in/a.png")
    assert plan_jobs(["link.png"], None, in_place=True)[0] == [Job(Path("link.png"), photos / "in/a.png")]


def test_where_nothing_can_be_written_is_said_before_the_work(photos, monkeypatch):
    for out in ("in/notes.txt/x", "in/notes.txt/x/y.png", "in/notes.txt/x.png"):
        with pytest.raises(InputError, match=r"--out: in/notes.txt is a file, so nothing can be written into it"):
            targets("in/a.png", out=out)
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(InputError, match="in/sub: you may not write into this folder"):
        plan_jobs(["in/sub/a.png"], None, in_place=True)


def test_no_name_and_the_name_of_nobody(photos):
    with pytest.raises(InputError, match="no picture given"):
        plan_jobs([""], None, in_place=True)  # an empty variable of the shell; not all that lies here
    with pytest.raises(NotFoundError, match=r"~nobody-of-that-name/a.png: no such file"):
        targets("~nobody-of-that-name/a.png")
    with pytest.raises(InputError, match="--in-place, --skip-existing"):
        plan_jobs(["in/a.png"], None, in_place=True, skip_existing=True)
