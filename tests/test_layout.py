"""The order of the house: each module imports only from its left, and `import corontools` is light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "corontools"
LEVELS = (
    ("errors", "folder", "progress", "options", "arrays", "display"),
    ("jobs", "cluster", "manifest"),
    ("meta", "dq"),
    ("exposure", "fits", "products", "association"),
    ("result",),
    ("background", "flicker", "calibrate"),
    ("warp",),
    ("coron",),
    ("simulate", "cli", "cli_background", "cli_calibrate", "cli_coron3", "cli_each", "cli_flicker", "cli_warp"),
    ("widgets",),
)
RANK = {name: rank for rank, names in enumerate(LEVELS) for name in names}
# subjects that know nothing of each other
SEPARATE = {"background", "flicker", "calibrate", "arrays", "display"}
HEAVY = ("matplotlib", "numba", "ipywidgets", "scipy.stats", "bqplot", "anywidget", "photutils", "astropy.wcs")


def subject(path: Path) -> str:
    """First part of the module's name below the package."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def at_import(body: list[ast.stmt]) -> list[ast.stmt]:
    """Import statements that run when the module is imported: not those in functions, nor for type checkers."""
    found: list[ast.stmt] = []
    for node in body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            found.append(node)
        elif isinstance(node, ast.If):
            checking = "TYPE_CHECKING" in ast.unparse(node.test)
            found += at_import(node.orelse if checking else [*node.body, *node.orelse])
        elif isinstance(node, ast.ClassDef | ast.With):
            found += at_import(node.body)
        elif isinstance(node, ast.Try):
            handlers = [statement for handler in node.handlers for statement in handler.body]
            found += at_import([*node.body, *handlers, *node.orelse, *node.finalbody])
    return found


def imported(path: Path) -> set[str]:
    """Subjects of this package that a module needs when it is imported."""
    names: list[str] = []
    for node in at_import(ast.parse(path.read_text(encoding="utf-8")).body):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} imports relatively; write the whole name"
            whole = node.module or ""
            names += [f"{whole}.{alias.name}" for alias in node.names] if whole == "corontools" else [whole]
    ours = [name.split(".") for name in names if name.split(".")[0] == "corontools"]
    assert all(len(parts) > 1 for parts in ours), f"{path.name} imports the package as a whole"
    return {parts[1] for parts in ours}


def test_the_walk_sees_imports_and_leaves_out_late_ones():
    code = """
import corontools.meta
from corontools import fits, dq
from corontools.arrays.kl import decompose
if TYPE_CHECKING:
    from corontools.coron.klip import KlipResult
else:
    import corontools.result
class A:
    from corontools.errors import DataError
    def f(self):
        from corontools.widgets import explore
try:
    import numba
except ImportError:
    import corontools.exposure
"""
    found = [ast.unparse(node) for node in at_import(ast.parse(code).body)]
    assert "from corontools.errors import DataError" in found
    assert "import corontools.exposure" in found
    assert "import corontools.result" in found
    assert not any("widgets" in line or "klip" in line for line in found)


def test_every_module_has_a_place():
    assert {subject(path) for path in MODULES} <= set(RANK)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_from_its_left(path):
    mine = subject(path)
    wrong = {name for name in imported(path) if RANK[name] > RANK[mine]}
    assert not wrong, f"{mine} imports {wrong}, which stand to its right"
    beside = {name for name in imported(path) if name != mine and name in SEPARATE and RANK[name] == RANK[mine]}
    assert not beside, f"{mine} imports {beside}, which should not know each other"


def loaded_by(code: str) -> set[str]:
    """Modules that a fresh interpreter has loaded after running the code."""
    script = f"import sys\n{code}\nprint('\\n'.join(sys.modules))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=PACKAGE.parent)
    return set(run.stdout.split())


@pytest.mark.parametrize(
    "code", ["import corontools", "from corontools import Exposure, Association, Meta, DQ, DataError"]
)
def test_the_package_is_light_to_import(code):
    modules = loaded_by(code)
    assert "corontools" in modules
    assert not {name for name in HEAVY if name in modules}


def test_coronagraphy_loads_no_widgets_and_no_compiler():
    modules = loaded_by("from corontools import PSFStack, coron3, replay")
    assert "corontools.coron.klip" in modules
    assert not {"matplotlib", "numba", "ipywidgets", "bqplot", "anywidget", "scipy.stats"} & modules


def test_a_name_that_is_not_there_is_an_attribute_error():
    import corontools

    with pytest.raises(AttributeError, match="has no attribute 'Expsoure'"):
        corontools.Expsoure
    assert set(corontools.__all__) <= set(dir(corontools))
    assert all(getattr(corontools, name) is not None for name in corontools.__all__)
