"""The house rules of DESIGN: imports go downward, start-up is light, every name in a table exists."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from stroma.core.registry import Registry

SOURCE = Path(__file__).parents[1] / "src" / "stroma"
ORDER = (
    "core", "images", "regions", "slides spectra", "study", "phantom", "sampling", "models losses augment", "runs",
    "prepare", "inference", "evaluation", "training", "features", "reports", "viewer", "support", "cli",
)  # fmt: skip
RANK = {folder: rank for rank, folders in enumerate(ORDER) for folder in folders.split()}


def imported_folders(path: Path) -> set[str]:
    """Folders of Stroma that a file imports anywhere, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        found |= {name.split(".")[1] for name in names if name.startswith("stroma.") and name.count(".") >= 1}
    return found & RANK.keys()


@pytest.mark.parametrize("path", sorted(SOURCE.glob("*/**/*.py")), ids=lambda p: p.relative_to(SOURCE).as_posix())
def test_imports_go_downward(path):
    folder = path.relative_to(SOURCE).parts[0]
    for other in imported_folders(path) - {folder}:
        assert RANK[other] < RANK[folder], f"{folder} must not know {other}"


def test_every_folder_has_a_place():
    folders = {path.parent.name for path in SOURCE.glob("*/__init__.py")}
    assert folders <= RANK.keys()


@pytest.mark.parametrize("folder", sorted(p.parent.name for p in SOURCE.glob("*/__init__.py")))
def test_every_name_in_a_table_can_be_imported(folder):
    package = importlib.import_module(f"stroma.{folder}")
    registry = getattr(package, "registry", None)
    for name in registry.table if isinstance(registry, Registry) else ():
        assert registry.get(name) is not None


def modules_after(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*sorted(m for m in sys.modules if '.' not in m))"
    return set(
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    )


def test_import_stroma_loads_no_torch_and_no_numpy():
    assert not {"torch", "numpy", "polars", "pydantic"} & modules_after("import stroma")


def test_help_loads_no_torch_and_no_polars():
    loaded = modules_after("from stroma.cli.main import run; run(['--help'])")
    assert "click" in loaded
    assert not {"torch", "numpy", "polars", "pydantic", "lightning"} & loaded


def test_information_about_the_installation_loads_no_arrays_and_no_tables():
    loaded = modules_after("from stroma.cli.main import run; run(['info', '--json'])")
    assert "pydantic" in loaded
    assert not {"torch", "numpy", "polars", "PIL"} & loaded


@pytest.mark.parametrize("verb", ["tile", "tissue", "quality", "stain", "evaluate", "annotations", "models"])
def test_verbs_start_without_libraries_that_take_a_second_and_few_runs_need(verb):
    assert not {"torch", "sklearn", "skimage", "pandas", "plotly"} & modules_after(f"import stroma.cli.{verb}")


def test_reading_and_tiling_need_no_torch():
    statement = "; ".join(
        f"import stroma.{name}"
        for name in ("images.open", "study.study", "prepare.tiles", "spectra.medians", "cli.generate", "cli.tile")
    )
    assert "torch" not in modules_after(statement)


def test_no_pickle_eval_or_unsafe_load_in_the_source():
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in {"torch.load", "eval", "exec", "np.load"}:
                arguments = {k.arg: ast.unparse(k.value) for k in node.keywords}
                assert ast.unparse(node.func) in {"torch.load", "np.load"}, path
                if ast.unparse(node.func) == "torch.load":
                    assert arguments.get("weights_only") == "True", path
                assert arguments.get("allow_pickle", "False") == "False", path


def test_tables_are_read_by_their_name_and_not_as_a_pattern():
    """Else polars finds no table in a folder such as `study [1]`."""
    readers = {"pl.read_csv", "pl.read_parquet", "pl.scan_csv", "pl.scan_parquet"}
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in readers:
                assert "glob" in {keyword.arg for keyword in node.keywords}, f"{path}:{node.lineno}"


def test_files_are_one_idea_long():
    for path in SOURCE.rglob("*.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 400, path
