"""The tutorials are tests: what they print when they run again is what they show."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat", reason="needs nbformat (extra test)")
pytest.importorskip("nbval", reason="needs nbval (extra test)")

HERE = Path(__file__).resolve().parent
NOTEBOOKS = sorted((HERE.parents[1] / "notebooks").glob("*.ipynb"))
NAMES = [path.stem for path in NOTEBOOKS]
REAL = "real-data"
IGNORE = "nbval-ignore-output"


@pytest.fixture
def compare(tmp_path):
    """Run notebooks as a test of nbval in a folder of their own; gives its status and what it printed."""

    def go(*notebooks, data="/nonexistent"):
        startup = tmp_path / "ipython" / "profile_default" / "startup"
        startup.mkdir(parents=True)
        shutil.copy(HERE / "quiet.ipy", startup)
        for name, notebook in notebooks:
            nbformat.write(notebook, tmp_path / f"{name}.ipynb")
        command = [sys.executable, "-m", "pytest", "-c", os.devnull, "--rootdir", ".", "-p", "no:cacheprovider", "-q"]
        command += ["--nbval", "--nbval-current-env", "--nbval-sanitize-with", str(HERE / "sanitize.cfg"), "."]
        environment = {**os.environ, "CORONTOOLS_DATA": str(data), "IPYTHONDIR": str(startup.parents[1])}
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=900, check=False
        )
        return done.returncode, done.stdout + done.stderr

    return go


def read(path):
    return nbformat.read(path, as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_there_are_tutorials():
    begin = ["01_quickstart_coron3", "02_choose_kl_modes", "03_contrast_and_companions", "04_calibrated_contrast"]
    assert NAMES[:4] == begin


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_a_tutorial_is_committed_as_run_without_what_changes_from_run_to_run(path):
    notebook = read(path)
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert all(set(cell.metadata) <= {"tags"} for cell in notebook.cells)
    counts = [cell.execution_count for cell in code_cells(notebook)]
    assert counts == list(range(1, len(counts) + 1))
    streams = [o for cell in code_cells(notebook) for o in cell.outputs if o.output_type in ("stream", "error")]
    assert all(output.get("name") == "stdout" for output in streams)
    assert path.stat().st_size < 400_000


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_a_tutorial_names_no_folder_of_a_machine(path):
    text = re.sub(r"data:image/[^\"\\]+", "", path.read_text(encoding="utf-8"))
    assert not re.search(r"[\s\"'(](/(home|tmp|work|root|opt|Users)/|[A-Z]:\\\\)", text)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_only_cells_on_real_exposures_go_unchecked(path):
    for cell in code_cells(read(path)):
        assert (IGNORE in cell.metadata.get("tags", ())) == (REAL in cell.metadata.get("tags", ()))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_a_page_made_of_a_tutorial_shows_the_card_of_each_view(path):
    nbconvert = pytest.importorskip("nbconvert", reason="needs nbconvert (comes with Jupyter)")
    from bs4 import BeautifulSoup

    views = [cell for cell in code_cells(read(path)) if ".explore(" in cell.source]
    page = BeautifulSoup(nbconvert.HTMLExporter().from_notebook_node(read(path))[0], "html.parser")
    shown = [area.decode_contents() for area in page.select(".jp-OutputArea-output")]
    assert views
    for cell in views:
        (output,) = cell.outputs
        assert set(output.data) == {"text/html", "text/plain"}
        card = BeautifulSoup(output.data["text/html"], "html.parser").decode()
        assert any(card in text for text in shown)
    assert not page.select("[type*=widget]")


def test_tutorials_print_what_they_show(compare):
    status, text = compare(*((path.stem, read(path)) for path in NOTEBOOKS))
    assert status == 0, text
    assert f"{sum(len(code_cells(read(path))) for path in NOTEBOOKS)} passed" in text


@pytest.mark.real
def test_tutorials_print_what_they_show_of_the_real_exposures(compare, data_folder):
    notebooks = []
    for path in NOTEBOOKS:
        notebook = read(path)
        real = [cell for cell in code_cells(notebook) if REAL in cell.metadata.get("tags", ())]
        for cell in real:
            cell.metadata.tags = [REAL]
        if real:  # the others have been run
            notebooks.append((path.stem, notebook))
    status, text = compare(*notebooks, data=data_folder)
    assert status == 0, text


def test_a_number_that_changes_is_found(compare):
    """In printed text, on a card, in a fingerprint; and a changed choice changes what is printed."""
    notebook = read(NOTEBOOKS[0])
    cells = {cell.id: cell for cell in code_cells(notebook)}
    card = next(cell for cell in cells.values() if cell.source.startswith("result = coron3"))
    table = next(cell for cell in cells.values() if cell.source.startswith("import numpy"))
    digest = next(cell for cell in cells.values() if "result.digest()" in cell.source)
    html = card.outputs[0].data["text/html"]
    card.outputs[0].data["text/html"] = _other_digit(html, r"residual</th>.*?(\d)[\d.]* MJy/sr")
    table.outputs[0].text = _other_digit(table.outputs[0].text, r"(\d)\.\d+e-")
    digest.outputs[0].text = _other_digit(digest.outputs[0].text, r"% -?(\d)")
    peak = next(cell for cell in cells.values() if cell.source.startswith("peak ="))
    peak.source = peak.source.replace("sigma(5)", "sigma(4)")
    status, text = compare(("changed", notebook))
    assert status == 1
    wanted = [list(cells).index(cell.id) for cell in (card, peak, table, digest)]
    assert [int(number) for number in re.findall(r"FAILED .*::Cell (\d+)", text)] == wanted, text


def _other_digit(text, pattern):
    """The text with the digit that the pattern finds replaced by another."""
    found = re.search(pattern, text, re.DOTALL)
    assert found, pattern
    at = found.start(1)
    return text[:at] + str((int(text[at]) + 1) % 10) + text[at + 1 :]
