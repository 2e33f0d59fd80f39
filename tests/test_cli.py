"""The command line: status, messages, and that a failure leaves nothing behind."""

from __future__ import annotations

import errno
import os
import re
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from astropy.io import fits

import corontools
from corontools import Association, DataError
from corontools.cli import main
from corontools.coron.pipeline import product_names
from corontools.folder import KEPT
from corontools.products import history_lines
from corontools.simulate import tiny

COMMAND = [sys.executable, "-m", "corontools.cli"]


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """An empty folder, and an environment in which the package is found from there."""
    places = [str(Path(corontools.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    return tmp_path_factory.mktemp("elsewhere"), {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, places))}


@pytest.fixture(scope="module")
def demo(elsewhere):
    folder, environment = elsewhere
    done = subprocess.run([*COMMAND, "demo"], cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return folder, done


@pytest.fixture(scope="module")
def asn(tmp_path_factory):
    return tiny().write(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def run(asn, capsys):
    """Run coron3 on the small association; gives status, standard output and lines of the error stream."""

    def go(*options, path=asn):
        status = main(["coron3", str(path), *map(str, options)])
        out, err = capsys.readouterr()
        lines = [line for line in re.split(r"[\r\n]", err) if line.strip() and "|" not in line]
        return status, out, lines

    return go


def products(folder):
    """Names of the files in a folder; what a run keeps for itself is hidden."""
    hidden = [path.name for path in folder.iterdir() if path.name.startswith(".")]
    assert hidden in ([], [KEPT])
    return {path.name for path in folder.iterdir() if path.name != KEPT}


def history(path):
    return "".join(history_lines([str(card) for card in fits.getheader(path)["HISTORY"]]))


def test_demo_works_in_an_empty_folder_and_says_where_the_report_is(demo):
    folder, done = demo
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "note:" not in done.stderr
    assert "WARNING" not in done.stderr
    report = Path("corontools-demo") / "report.html"
    assert f"report in {report}" in done.stdout
    assert (folder / report).read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert [path.name for path in folder.iterdir()] == ["corontools-demo"]
    (asn,) = (folder / "corontools-demo" / "exposures").glob("*_asn.json")
    names = {path.name for path in (folder / "corontools-demo").iterdir()}
    assert names == {*product_names(Association.read(asn)), "report.html", "exposures"}


def test_demo_finds_its_companions(demo):
    folder, _ = demo
    text = (folder / "corontools-demo" / "report.html").read_text(encoding="utf-8")
    assert "simulated exposures with planted companions, not an observation" in text
    for letter, sep in (("b", 0.9), ("c", 1.5), ("d", 3.2)):
        row = re.search(f"<tr><td>{letter}</td>(.*?)</tr>", text)
        values = [float(cell) for cell in re.findall("<td[^>]*>([^<]*)</td>", row[1])]
        assert values[0] == sep
        assert values[5] < 1.0, "offset in px"
        assert values[6] > 5.0, "S/N"


def test_demo_keeps_a_folder_that_is_not_empty(demo, monkeypatch, capsys):
    folder, _ = demo
    monkeypatch.chdir(folder)
    assert main(["demo"]) == 1
    assert capsys.readouterr().err == (
        "corontools: error: corontools-demo is not empty; choose another folder with -o, or --overwrite\n"
    )


def test_the_table_lists_every_product_with_size_and_time(demo):
    folder, done = demo
    lines = done.stdout.splitlines()
    assert lines[0] == "10 KL modes from 27 references"
    assert lines[1].split() == ["product", "size", "time"]
    listed = {line.split()[0] for line in lines[2:-2]}
    assert listed == {path.name for path in (folder / "corontools-demo").iterdir() if path.is_file()}
    assert all(re.search(r" [\d.]+ [kM]?B +\d+\.\d\d s$", line) for line in lines[2:-1])


def test_help_is_printed_without_loading_what_computes(elsewhere):
    code = "import sys; from corontools.cli import main; main(['coron3', '--help']); print('numpy' in sys.modules)"
    folder, environment = elsewhere
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    assert "examples:" in done.stdout
    assert done.stdout.rstrip().endswith("False")


@pytest.mark.parametrize(("argv", "words"), [(["--help"], "demo"), (["--version"], corontools.__version__)])
def test_help_and_version_end_well(argv, words, capsys):
    assert main(argv) == 0
    assert words in capsys.readouterr().out


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["-o", "out", "--modes", "-1"],
        ["-o", "out", "--modes", "2.5"],
        ["-o", "out", "--sigma", "nan"],
        ["-o", "out", "--width", "0"],
        ["-o", "out", "--box", "4"],
        ["-o", "out", "--align", "last"],
        ["-o", "out", "--skip", "klip"],
        ["-o", "out", "--skip", "repair", "--box", "5"],
        ["-o", "out", "--skip", "align_to", "--mask", "psfmask.fits"],
        ["-o", "out", "--no-such-option"],
    ],
)
def test_wrong_usage_ends_with_2(options, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, out, lines = run(*options)
    assert status == 2
    assert not out
    assert re.match("corontools( coron3)?: error: ", lines[-1])
    assert not list(tmp_path.iterdir())


def test_no_command_is_wrong_usage(capsys):
    assert main([]) == 2
    assert "usage:" in capsys.readouterr().err


def test_all_products_and_the_report_are_written(run, asn, tmp_path):
    status, out, lines = run("-o", tmp_path / "deep" / "out", "--report")
    assert (status, lines) == (0, [])
    association = Association.read(asn)
    report = f"{association.product}_report.html"
    assert products(tmp_path / "deep" / "out") == {*product_names(association), report}
    assert out.startswith("10 KL modes from 10 references\n")
    assert report in out


def test_options_reach_their_steps(run, asn, tmp_path):
    mask = next(asn.parent.glob("*_psfmask.fits"))
    options = ["--modes", 3, "--align", "first", "--zones", "full", "--sigma", 7, "--box", 5, "--width", 4]
    status, _, _ = run("-o", tmp_path, *options, "--mask", mask)
    assert status == 0
    chain = history(next(tmp_path.glob("*001001*_psfsub.fits")))
    for words in ("to='first'", "zones='full'", "reject_outliers(7.0)", "repair(5)", str(mask)):
        assert words in chain
    assert fits.getheader(next(tmp_path.glob("*001001*_psfsub.fits")))["KLMODES"] == 3
    rings = fits.getdata(next(tmp_path.glob("*_contrast.fits")), 1)["radius"]
    assert rings[1] - rings[0] == 4


def test_skipped_steps_leave_out_their_products(run, asn, tmp_path):
    skipped = ["reject_outliers", "align_to", "contrast", "combine"]
    status, _, lines = run("-o", tmp_path, "--modes", 2, *(f"--skip={step}" for step in skipped))
    assert (status, lines) == (0, [])
    written = products(tmp_path)
    off = dict.fromkeys(("reject_outliers", "contrast", "combine"), False)
    assert written == set(product_names(Association.read(asn), **off))
    assert not any(word in name for name in written for word in ("crfints", "contrast", "i2d"))


def test_all_images_can_be_brought_to_one_level(run, tmp_path):
    for i, (words, recorded) in enumerate([(("--level",), "()"), (("--level", 12), "(beyond=12.0)")]):
        assert run("-o", tmp_path / str(i), "--modes", 2, "--skip", "combine", *words)[0] == 0
        product = next((tmp_path / str(i)).glob("*_psfsub.fits"))
        assert history(product).count(f".subtract_level{recorded}") == 2  # science and references
        assert fits.getval(product, "S_BKDSUB") == "COMPLETE"


def test_more_modes_than_references_are_noted_in_one_line(run, tmp_path):
    status, out, lines = run("-o", tmp_path, "--modes", 99, "--skip", "combine", "--skip", "contrast")
    assert status == 0
    assert lines == ["note: 99 modes asked for, but there are 10 references: 10 are used"]
    assert out.startswith("10 KL modes from 10 references\n")


def test_an_association_that_is_missing_is_one_line(run, tmp_path):
    status, out, lines = run("-o", tmp_path / "out", path=tmp_path / "none.json")
    assert (status, out) == (1, "")
    assert lines == [f"corontools: error: association {tmp_path / 'none.json'} does not exist"]
    assert not (tmp_path / "out").exists()


def test_bad_words_from_a_file_are_one_visible_line(run, tmp_path):
    path = tmp_path / "asn.json"
    path.write_text('{"products": [{"name": "a\\u001b[31m\\nb/c", "members": []}]}', encoding="utf-8")
    status, _, lines = run("-o", tmp_path / "out", path=path)
    assert status == 1
    assert len(lines) == 1
    assert "\x1b" not in lines[0]


def test_debug_shows_where_it_failed(asn, tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        main(["coron3", str(tmp_path / "none.json"), "-o", str(tmp_path / "out"), "--debug"])


def test_existing_products_are_refused_before_anything_is_computed(run, asn, tmp_path, monkeypatch):
    name = product_names(Association.read(asn))[-1]
    (tmp_path / name).write_bytes(b"precious")
    monkeypatch.setattr("corontools.coron.coron3", lambda *_, **__: pytest.fail("computed"))
    status, _, lines = run("-o", tmp_path)
    assert status == 1
    assert lines == [f"corontools: error: {tmp_path} holds {name} already; choose another folder, or --overwrite"]
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_file_in_place_of_the_folder_is_one_line(run, tmp_path):
    (tmp_path / "out").write_bytes(b"precious")
    status, _, lines = run("-o", tmp_path / "out")
    assert status == 1
    assert len(lines) == 1
    assert str(tmp_path / "out") in lines[0]
    assert (tmp_path / "out").read_bytes() == b"precious"


FULL = OSError(errno.ENOSPC, "No space left on device")
FAILURES = [
    (FULL, 1, "corontools: error: No space left on device"),
    (KeyboardInterrupt(), 130, "corontools: interrupted; nothing was left half-done"),
    (MemoryError("Unable to allocate 9 TiB"), 1, "corontools: error: Unable to allocate 9 TiB"),
]


@pytest.mark.parametrize(("failure", "status", "line"), FAILURES)
def test_a_failure_while_saving_leaves_nothing(failure, status, line, run, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise failure

    monkeypatch.setattr("corontools.coron.pipeline._write_snr", fail)
    assert run("-o", tmp_path / "out", "--modes", 2) == (status, "", [line])
    assert not (tmp_path / "out").exists()


def test_a_failure_with_overwrite_keeps_the_old_products(run, asn, tmp_path, monkeypatch):
    old = tmp_path / product_names(Association.read(asn))[0]
    old.write_bytes(b"precious")

    def fail(*_, **__):
        raise FULL

    monkeypatch.setattr("corontools.coron.pipeline._write_snr", fail)
    status, _, _ = run("-o", tmp_path, "--modes", 2, "--overwrite")
    assert status == 1
    assert [path.name for path in tmp_path.iterdir()] == [old.name]
    assert old.read_bytes() == b"precious"


def test_overwrite_replaces_products_and_keeps_other_files(run, asn, tmp_path):
    old = tmp_path / product_names(Association.read(asn))[0]
    old.write_bytes(b"old")
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    status, _, _ = run("-o", tmp_path, "--modes", 2, "--overwrite")
    assert status == 0
    assert old.read_bytes()[:6] == b"SIMPLE"
    assert (tmp_path / "notes.txt").read_text(encoding="utf-8") == "mine"
    assert products(tmp_path) == {*product_names(Association.read(asn)), "notes.txt"}


def test_an_interrupted_demo_leaves_nothing(tmp_path, monkeypatch, capsys):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("corontools.simulate.demo", tiny)
    monkeypatch.setattr("corontools.coron.coron3", interrupt)
    assert main(["demo", "-o", str(tmp_path / "new")]) == 130
    assert capsys.readouterr().err == "corontools: interrupted; nothing was left half-done\n"
    assert not list(tmp_path.iterdir())


@pytest.fixture
def lab(tmp_path, monkeypatch, capsys):
    """Run `lab` up to the program that it would become; gives status, that command, and lines of the error stream."""

    def go(*options):
        commands = []
        monkeypatch.setattr("corontools.cli._become", commands.append)
        status = main(["lab", "-o", str(tmp_path / "tutorials"), *options])
        return status, commands, capsys.readouterr().err.splitlines()

    return go


def test_lab_opens_copies_of_the_tutorials_on_this_machine_only(lab, tmp_path):
    pytest.importorskip("jupyterlab")
    status, (command,), lines = lab("--no-browser", "--port", "8890")
    assert (status, lines) == (0, [])
    shipped = sorted((Path(corontools.__file__).parents[1] / "notebooks").glob("*.ipynb"))
    copies = sorted((tmp_path / "tutorials").iterdir())
    assert len(copies) >= 3
    assert [path.read_bytes() for path in copies] == [path.read_bytes() for path in shipped]
    assert command[:3] == [sys.executable, "-m", "jupyterlab"]
    assert {"--ServerApp.ip=127.0.0.1", "--ServerApp.port=8890", "--no-browser"} < set(command)
    assert f"--ServerApp.root_dir={tmp_path / 'tutorials'}" in command
    assert not any(word in " ".join(command) for word in ("token", "password", "allow-root", "allow_remote"))


def test_lab_keeps_what_was_changed_and_brings_back_what_was_deleted(lab, tmp_path):
    pytest.importorskip("jupyterlab")
    lab()
    first, second, *_ = sorted((tmp_path / "tutorials").iterdir())
    first.write_text("mine", encoding="utf-8")
    second.unlink()
    status, _, lines = lab()
    assert (status, lines) == (0, [f"note: kept as you changed them: {first.name}"])
    assert first.read_text(encoding="utf-8") == "mine"
    assert second.is_file()


def test_lab_without_jupyterlab_says_how_to_get_it(lab, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    status, commands, lines = lab()
    assert (status, commands) == (1, [])
    assert lines == ["corontools: error: JupyterLab isn't installed; get it with: pip install 'corontools[lab]'"]
    assert not list(tmp_path.iterdir())


def listening(port):
    """Wait for the server: it tells its address a moment before it listens."""
    for _ in range(100):
        with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.1)


def test_lab_answers_only_those_who_have_the_token(elsewhere, tmp_path):
    pytest.importorskip("jupyterlab")
    folder, environment = elsewhere
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    command = [*COMMAND, "lab", "-o", str(tmp_path / "t"), "--no-browser", "--port", port, "--allow-root"]
    environment = {**environment, "JUPYTER_RUNTIME_DIR": str(tmp_path / "r"), "JUPYTER_CONFIG_DIR": str(tmp_path / "c")}
    with subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True) as server:
        try:
            told, page = "", None
            while page is None:
                line = server.stderr.readline()
                assert line, told
                told += line
                page = re.search(r"(http://127\.0\.0\.1:\d+)/lab/tree/(\S+)\?token=(\w{40,})", told)
            address, name, token = page.groups()
            assert name == "01_quickstart_coron3.ipynb"
            listening(int(port))
            with pytest.raises(HTTPError, match="403"):
                urlopen(f"{address}/api/contents", timeout=20)
            with urlopen(f"{address}/api/contents?token={token}", timeout=20) as answer:
                assert name.encode() in answer.read()
        finally:
            server.terminate()
            server.stderr.read()
