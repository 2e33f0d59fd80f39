"""A real Jupyter server with JupyterLab, Notebook 7 and Voila, and notebooks opened in a browser page."""

from __future__ import annotations

import ast
import json
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

REPOSITORY = Path(__file__).resolve().parents[2]
KERNEL = "corontools-test"
STARTED = 90.0  # s to wait for the server
ALONE = 900  # s without a page or a request after which the server ends
SHOWN = 180_000.0  # ms to wait for a page or a view, at most: other tests may be running beside

# where each interface shows a notebook
PATHS = {
    "lab": "lab/tree/{name}?reset",
    "doc": "doc/tree/{name}?reset",
    "notebook": "notebooks/{name}",
    "voila": "voila/render/{name}",
}
THEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}

READY = """async () => {
    const app = window.jupyterapp;
    await app.restored;
    const panel = app.shell.currentWidget;
    if (!panel || !panel.sessionContext) return false;
    await panel.context.ready;
    await panel.sessionContext.ready;
    const kernel = panel.sessionContext.session?.kernel;
    if (!kernel) return false;
    await kernel.info;
    return kernel.status === 'idle';
}"""
RUN_ALL = "() => window.jupyterapp.commands.execute('notebook:run-all-cells').then(() => null)"
ERRORS = """() => [...window.jupyterapp.shell.currentWidget.content.model.cells]
    .flatMap(cell => cell.type === 'code' ? cell.outputs.toJSON() : [])
    .filter(output => output.output_type === 'error')
    .map(output => output.traceback.join('\\n') || output.ename)"""
EXECUTE = """async ([code, expression]) => {
    const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
    const ask = {code, silent: false, store_history: false, user_expressions: {value: expression}};
    const future = kernel.requestExecute(ask);
    const after = ms => new Promise(done => setTimeout(done, ms));
    // done once the kernel is idle too; that message can get lost among many, the reply can't
    const replied = new Promise(done => { future.onReply = done; }).then(reply => after(2000).then(() => reply));
    const silent = after(120000).then(() => ({content: {evalue: 'nothing for two minutes'}}));
    const {content} = await Promise.race([future.done, replied, silent]);
    if (content.status !== 'ok') return {error: content.evalue || content.status};
    const value = content.user_expressions.value;
    return value.status === 'ok' ? {text: value.data['text/plain']} : {error: `${value.ename}: ${value.evalue}`};
}"""


@dataclass
class Jupyter:
    """A Jupyter server on 127.0.0.1 with a token, in a folder of its own; a context manager.

    It serves JupyterLab, Notebook 7 and Voila alike. Nothing of the user's configuration is read, nothing outside
    the folder is written, no news are fetched. Kernels run this interpreter.
    """

    folder: Path
    port: int = 0
    token: str = field(default_factory=lambda: secrets.token_hex(16), repr=False)
    _process: subprocess.Popen[bytes] | None = field(init=False, repr=False, default=None)

    def __enter__(self) -> Jupyter:
        self.port = self.port or free_port()
        for name in ("work", "config/labconfig", "settings", "runtime", "data/kernels"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        self._settings()
        with (self.folder / "server.log").open("wb") as log:
            self._process = subprocess.Popen(
                self._command(),
                cwd=self.work,
                env=self._environment(),
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )
        self._wait()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.terminate()
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    @property
    def work(self) -> Path:
        """Folder of the notebooks."""
        return self.folder / "work"

    def _command(self) -> list[str]:
        return [
            sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1",
            f"--ServerApp.port={self.port}", "--ServerApp.port_retries=0", f"--ServerApp.root_dir={self.work}",
            "--ServerApp.terminals_enabled=False", "--LabApp.expose_app_in_browser=True",
            "--JupyterNotebookApp.expose_app_in_browser=True", "--LabApp.collaborative=False",
            "--LanguageServerManager.autodetect=False", "--VoilaConfiguration.show_tracebacks=True",
            "--LabApp.extension_manager=readonly", "--LabApp.news_url=",
            # a server whose tests were killed ends by itself
            f"--MappingKernelManager.cull_idle_timeout={ALONE}", f"--ServerApp.shutdown_no_activity_timeout={ALONE}",
        ]  # fmt: skip

    def _environment(self) -> dict[str, str]:
        mine = {name: value for name, value in os.environ.items() if not name.startswith(("JUPYTER", "IPYTHON"))}
        places = {"CONFIG_DIR": "config", "RUNTIME_DIR": "runtime", "DATA_DIR": "data", "PATH": "data"}
        mine |= {f"JUPYTER_{name}": str(self.folder / place) for name, place in places.items()}
        mine |= {f"JUPYTERLAB_{name}_DIR": str(self.folder / name.lower()) for name in ("SETTINGS", "WORKSPACES")}
        return mine | {"JUPYTER_TOKEN": self.token, "IPYTHONDIR": str(self.folder / "ipython")}

    def _settings(self) -> None:
        """Kernel, and interface without pop-ups."""
        roots = os.pathsep.join((str(REPOSITORY), str(REPOSITORY / "widgets")))
        kernel = {
            "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
            "display_name": "Python",
            "language": "python",
            "env": {"PYTHONPATH": roots, "OPENBLAS_NUM_THREADS": "1"},
        }
        write_json(self.folder / "data" / "kernels" / KERNEL / "kernel.json", kernel)
        off = {"@jupyterlab/apputils-extension:announcements": True}
        write_json(self.folder / "config" / "labconfig" / "page_config.json", {"disabledExtensions": off})
        self.setting("apputils-extension/notification", {"fetchNews": "false", "checkForUpdates": False})
        self.setting("docmanager-extension/plugin", {"autosave": False})

    def setting(self, name: str, values: dict[str, Any]) -> None:
        """Change a user setting; pages loaded from now on have it."""
        write_json(self.folder / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings", values)

    def theme(self, name: str) -> None:
        """Choose "light" or "dark" for the pages of JupyterLab and Notebook that are loaded from now on."""
        self.setting("apputils-extension/themes", {"theme": THEMES[name]})

    def _wait(self) -> None:
        assert self._process is not None
        begin = time.monotonic()
        while time.monotonic() < begin + STARTED:
            if self._process.poll() is not None:
                break
            try:
                self.request("api/status")
            except (OSError, urllib.error.URLError):
                time.sleep(0.2)
            else:
                return
        self._process.kill()
        self._process.wait()
        log = (self.folder / "server.log").read_text(encoding="utf-8", errors="replace")
        raise RuntimeError(f"the Jupyter server did not start; its log ends:\n{log[-2000:]}")

    def request(self, path: str, method: str = "GET") -> Any:
        """Answer of the server's REST interface."""
        address = f"http://127.0.0.1:{self.port}/{path}"
        asked = urllib.request.Request(address, method=method, headers={"Authorization": f"token {self.token}"})
        with urllib.request.urlopen(asked, timeout=20) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def address(self, name: str, *, ui: str = "lab", theme: str = "light", port: int | None = None) -> str:
        """Address of a notebook in an interface: "lab", "doc" (Lab, one document), "notebook" or "voila"."""
        path = PATHS[ui].format(name=name)
        asked = f"token={self.token}" + (f"&theme={theme}" if ui == "voila" else "")
        return f"http://127.0.0.1:{port or self.port}/{path}{'&' if '?' in path else '?'}{asked}"

    def write(self, cells: list[str], *, name: str) -> Path:
        """A notebook of code cells in the server's folder; all but the last are folded, so that views have room."""
        hidden = {"jupyter": {"source_hidden": True}}
        book = {
            "nbformat": 4,
            "nbformat_minor": 5,
            "metadata": {"kernelspec": {"name": KERNEL, "display_name": "Python", "language": "python"}},
            "cells": [
                {"id": f"cell-{i}", "cell_type": "code", "metadata": hidden if i + 1 < len(cells) else {},
                 "execution_count": None, "outputs": [], "source": source}
                for i, source in enumerate(cells)
            ],
        }  # fmt: skip
        path = self.work / name
        write_json(path, book)
        return path

    def stop_kernels(self) -> None:
        """Shut down every kernel, those of Voila too."""
        for kernel in self.request("api/kernels"):
            self.request(f"api/kernels/{kernel['id']}", "DELETE")


@dataclass(frozen=True)
class Notebook:
    """A notebook open in a page, see the fixture `open_notebook`."""

    page: Page
    server: Jupyter
    name: str
    ui: str

    def run_all(self) -> None:
        """Run all cells, wait until they are done; an error in a cell is an error here."""
        self.page.evaluate(RUN_ALL)
        errors = self.page.evaluate(ERRORS)
        if errors:
            raise RuntimeError("a cell failed:\n" + "\n".join(errors))

    def run_cell(self, index: int) -> None:
        """Press Shift+Enter in a cell, as a user does; doesn't wait."""
        self.select_cell(index)
        self.page.keyboard.press("Shift+Enter")

    def select_cell(self, index: int) -> None:
        """Make a cell the active one, in command mode."""
        script = """index => {
            const {content} = window.jupyterapp.shell.currentWidget;
            content.activeCellIndex = index; content.mode = 'command'; content.activate();
        }"""
        self.page.evaluate(script, index)

    def python(self, code: str) -> None:
        """Run code in the notebook's kernel, outside its cells."""
        self._execute(code, "None")

    def value(self, expression: str) -> Any:
        """Value of an expression in the notebook's kernel: what JSON can carry (tuples come as lists)."""
        whole = f"__import__('json').dumps({expression}, default=lambda v: v.tolist())"
        return json.loads(ast.literal_eval(self._execute("", whole)))

    def _execute(self, code: str, expression: str) -> str:
        answer = self.page.evaluate(EXECUTE, [code, expression])
        if "error" in answer:
            raise RuntimeError(f"the kernel answered: {answer['error']}")
        return str(answer["text"])

    def wait_for(self, expression: str, wanted: Any = True, *, seconds: float = 10.0) -> Any:
        """Wait until an expression in the kernel has a value, and return it; the last value if it never does."""
        end = time.monotonic() + seconds
        while (found := self.value(expression)) != wanted and time.monotonic() < end:
            self.page.wait_for_timeout(50)
        return found

    def outputs(self) -> Locator:
        """Output areas of the notebook."""
        return self.page.locator(".jp-OutputArea-output")


def show(
    server: Jupyter, page: Page, name: str, *, ui: str = "lab", theme: str = "light", port: int | None = None
) -> Notebook:
    """Open a notebook that is there in a page, and wait for its kernel; `port` is that of a link to the server."""
    server.theme(theme)
    page.goto(server.address(name, ui=ui, theme=theme, port=port), timeout=SHOWN)
    if ui != "voila":
        page.wait_for_function("window.jupyterapp !== undefined", timeout=SHOWN)
        end = time.monotonic() + SHOWN / 1000
        while not page.evaluate(READY):
            if time.monotonic() > end:
                raise RuntimeError(f"no kernel for {name} after {SHOWN / 1000:.0f} s")
            page.wait_for_timeout(100)
    return Notebook(page, server, name, ui)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens at."""
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        return int(place.getsockname()[1])


def write_json(path: Path, values: Any) -> None:
    """Write a file, and the folders it stands in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values), encoding="utf-8")
