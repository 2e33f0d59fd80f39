"""Rehearse Binder without Docker: `python tests/binder/rehearse.py [FOLDER]`, two or three minutes.

Makes a virtual environment in FOLDER with the versions that repo2docker freezes, installs binder/requirements.txt,
runs binder/postBuild as Binder would, and then the tutorials with nbval. PYTHON names another Python than the one
that runs this; Binder's is 3.12.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
LOCK = "buildpacks/conda/environment.py-3.12-linux-64.lock"
# what a tutorial meets of the frozen environment, by the names that PyPI knows
FROZEN = ("ipykernel", "ipywidgets", "jupyter_server", "jupyterlab", "jupyterlab_widgets", "notebook", "traitlets")


def main(folder: Path) -> None:
    """Make the environment and run everything in it."""
    venv = folder / "venv"
    subprocess.run([os.environ.get("PYTHON", sys.executable), "-m", "venv", venv], check=True)
    run(venv, "python", "-m", "pip", "install", "--quiet", *pins())
    run(venv, "python", "-m", "pip", "install", "--quiet", "-r", "binder/requirements.txt", cwd=REPOSITORY)
    run(venv, REPOSITORY / "binder" / "postBuild")
    run(venv, "python", "-m", "pip", "install", "--quiet", "nbval", "pytest", "hypothesis")
    shutil.copytree(REPOSITORY / "notebooks", folder / "notebooks")
    shutil.copytree(REPOSITORY / "tests" / "notebooks", folder / "tests" / "notebooks")
    shutil.copy(REPOSITORY / "tests" / "conftest.py", folder / "tests")
    options = ("-q", "-p", "no:cacheprovider", "-o", "markers=real")
    run(venv, "python", "-m", "pytest", *options, "tests/notebooks", cwd=folder)


def pins() -> list[str]:
    """Versions of the frozen environment."""
    import repo2docker

    lock = (Path(repo2docker.__file__).parent / LOCK).read_text(encoding="utf-8")
    found = dict(re.findall(r"/([a-z_]+)-([0-9][0-9.]*)-[^/]*\.conda", lock))
    return [f"{name}=={found[name]}" for name in FROZEN]


def run(venv: Path, command: str | Path, *args: str, cwd: Path | None = None) -> None:
    """Run a command with the environment's folder first in the path."""
    path = f"{venv / 'bin'}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    environment.pop("PYTHONPATH", None)
    program = shutil.which(command, path=path) or command
    subprocess.run([program, *args], cwd=cwd or venv, env=environment, check=True)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(scratch))
