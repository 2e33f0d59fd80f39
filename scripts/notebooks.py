"""Run the tutorials again and keep their outputs: `scripts/run notebooks [NAME ...]`.

Outputs are written without widget state, times and versions, so that a run that changes no number changes no file.
Where there are no real exposures, cells that need them keep the outputs that they had.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

REPOSITORY = Path(__file__).resolve().parents[1]
NOTEBOOKS = REPOSITORY / "notebooks"
LARGEST = 400_000  # bytes of a notebook; what is committed stays


def main(names: list[str]) -> None:
    """Run the named notebooks, by default all."""
    data = Path(os.environ.setdefault("CORONTOOLS_DATA", str(REPOSITORY.parent / "shared" / "data")))
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        if not names or path.stem in names or path.name in names:
            notebook = nbformat.read(path, as_version=4)
            old = {cell.id: cell.get("outputs") for cell in notebook.cells}
            run(notebook)
            strip(notebook, keep={} if data.is_dir() else old)
            nbformat.write(notebook, path)
            print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")
            if path.stat().st_size > LARGEST:
                sys.exit(f"{path.name} is larger than {LARGEST / 1000:.0f} kB; show fewer or smaller pictures")


def run(notebook: nbformat.NotebookNode) -> None:
    """Run all cells in an empty folder, where the notebook may write."""
    with tempfile.TemporaryDirectory() as folder:
        startup = Path(folder) / "ipython" / "profile_default" / "startup"
        startup.mkdir(parents=True)
        shutil.copy(REPOSITORY / "tests" / "notebooks" / "quiet.ipy", startup)
        os.environ["IPYTHONDIR"] = str(startup.parents[1])
        where = {"metadata": {"path": folder}}
        NotebookClient(notebook, timeout=300, resources=where, store_widget_state=False).execute()


def strip(notebook: nbformat.NotebookNode, *, keep: dict[str, list[nbformat.NotebookNode]]) -> None:
    """Take out what differs from run to run; `keep` has the outputs of cells that couldn't run."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = merged(cell.outputs)
            for output in cell.outputs:
                # without its state a saved widget is an error message; its card stays
                output.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)
        cell.metadata = {"tags": cell.metadata["tags"]} if "tags" in cell.metadata else {}
        if "real-data" in cell.metadata.get("tags", ()) and cell.id in keep:
            cell.outputs = keep[cell.id]


def merged(outputs: list[nbformat.NotebookNode]) -> list[nbformat.NotebookNode]:
    """Outputs in which text that came in pieces, as timing would have it, is one."""
    whole: list[nbformat.NotebookNode] = []
    for output in outputs:
        if whole and output.output_type == "stream" == whole[-1].output_type and output.name == whole[-1].name:
            whole[-1].text += output.text
        else:
            whole.append(output)
    return whole


if __name__ == "__main__":
    main(sys.argv[1:])
