"""What Binder would build, as far as that can be said without Docker."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
BINDER = REPOSITORY / "binder"


@pytest.fixture(scope="module")
def dockerfile():
    """What repo2docker says it would build."""
    command = shutil.which("jupyter-repo2docker", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if command is None:
        pytest.skip("jupyter-repo2docker is not installed (extra test)")
    done = subprocess.run(
        [command, "--no-build", "--debug", str(REPOSITORY)], capture_output=True, text=True, timeout=60, check=False
    )
    text = done.stdout + done.stderr
    assert done.returncode == 0, text
    assert "Traceback" not in text
    return text


def test_the_image_has_the_python_that_we_ask_for(dockerfile):
    assert "python=3.12" in dockerfile
    assert (BINDER / "runtime.txt").read_text(encoding="utf-8") == "python-3.12\n"


def test_the_image_installs_the_project_from_its_root_and_then_prepares_it(dockerfile):
    steps = ["COPY --chown=0:0 src/ ${REPO_DIR}/\n", '-r "binder/requirements.txt"\n', "RUN ./binder/postBuild\n"]
    places = [dockerfile.find(step) for step in steps]
    assert -1 not in places
    assert places == sorted(places)
    lines = (BINDER / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if not line.startswith("#")] == [".[lab]"]
    assert os.access(BINDER / "postBuild", os.X_OK)
