"""One run on a folder at a time, and nothing left of one that ended."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from corontools import DataError
from corontools.folder import KEPT, PARTS, holder, locked, staged


def test_a_second_run_is_told_who_holds_the_folder(tmp_path):
    where = f"on {socket.gethostname()}, process {os.getpid()}, since 2"
    with locked(tmp_path) as run:
        assert holder(tmp_path)["run"] == run
        with pytest.raises(DataError, match=f"is in use by another run \\({where}.*wait for its end"), locked(tmp_path):
            pytest.fail("locked twice")
        assert holder(tmp_path)["run"] == run
    with locked(tmp_path) as other:
        assert other != run
    assert not list(tmp_path.iterdir())


def test_a_killed_run_leaves_no_lock_and_its_parts_go(tmp_path):
    code = (
        "import os, sys, pathlib; from corontools.folder import *; from corontools.folder import PARTS\n"
        "out = pathlib.Path(sys.argv[1])\n"
        "with locked(out), staged(out, ['a'], parts=out / KEPT / PARTS) as part:\n"
        "    (part / 'a').write_text('half'); os.kill(os.getpid(), 9)"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path / "out")], check=False)
    assert killed.returncode == -9
    assert list((tmp_path / "out" / KEPT / PARTS).glob("*/a"))
    with locked(tmp_path / "out"):
        assert not list((tmp_path / "out" / KEPT / PARTS).iterdir())
        with staged(tmp_path / "out", ["a"], parts=tmp_path / "out" / KEPT / PARTS) as part:
            (part / "a").write_text("whole")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a"]


def test_a_folder_that_was_made_for_nothing_goes(tmp_path):
    with pytest.raises(KeyboardInterrupt), locked(tmp_path / "deep" / "out"):
        raise KeyboardInterrupt
    assert not (tmp_path / "deep" / "out").exists()


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "out").write_text("precious")
    with pytest.raises(DataError, match="out is a file, not a folder"), locked(tmp_path / "out"):
        pytest.fail("locked")
    assert (tmp_path / "out").read_text() == "precious"


def test_products_may_have_folders(tmp_path):
    with staged(tmp_path / "out", ["v1/a"]) as part:
        (part / "v1").mkdir()
        (part / "v1" / "a").write_text("a")
    assert (tmp_path / "out" / "v1" / "a").read_text() == "a"


def test_links_to_other_places_are_not_written_through(tmp_path):
    other, out = tmp_path / "other", tmp_path / "out"
    other.mkdir()
    (other / "mine").write_text("kept")
    (out / ".corontools").mkdir(parents=True)
    (out / ".corontools" / "holder").symlink_to(other / "mine")
    with locked(out):
        assert (other / "mine").read_text() == "kept"
    (out / "sub").symlink_to(other)
    with pytest.raises(DataError, match="is a link to another place"), staged(out, ["sub/mine"], overwrite=True):
        pass
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / ".corontools").symlink_to(other)
    with pytest.raises(DataError, match="is a link to another place"), locked(linked):
        pass
    assert (other / "mine").read_text() == "kept"
