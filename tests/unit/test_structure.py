"""The structure itself: what may import what, and that everything is in the wheel."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TIERS = ("oltp", "content_store", "olap", "queue")
FOLDERS = ("pipelines", *TIERS, "stack")
MAY_IMPORT = {tier: {tier, "stack"} for tier in TIERS} | {"stack": {"stack"}, "pipelines": set(FOLDERS)}
LONGEST_MODULE_LINES = 500


def modules(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def imported(module: Path) -> set[str]:
    """Returns the dotted names that a module imports, at its top or inside functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


@pytest.mark.parametrize("folder", ["queue", "tests/queue"])
def test_nothing_shadows_the_standard_librarys_queue(folder: str) -> None:
    assert not (ROOT / folder / "__init__.py").exists()
    assert not (ROOT / "tests" / "queue").exists()


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_imports_only_what_it_may(folder: str) -> None:
    for module in modules(folder):
        for name in imported(module):
            first, *rest = name.split(".")
            assert first not in FOLDERS or first == "queue", f"{module}: import {name} as penguinmails.{name}"
            if first == "penguinmails" and rest:
                assert rest[0] in MAY_IMPORT[folder], f"{module} may not import {name}"


@pytest.mark.parametrize("folder", [*TIERS, "stack"])
def test_only_pipelines_imports_dagster(folder: str) -> None:
    for module in modules(folder):
        assert not any(name.split(".")[0].startswith("dagster") for name in imported(module)), module


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_module_opens_with_its_charter(folder: str) -> None:
    for module in modules(folder):
        assert ast.get_docstring(ast.parse(module.read_text(encoding="utf-8"))), f"{module} has no charter"
    if folder == "queue":
        assert (ROOT / "queue" / "README.md").exists()


@pytest.mark.parametrize("folder", [*FOLDERS, "tests", "bench"])
def test_modules_stay_small(folder: str) -> None:
    long = {str(module): len(module.read_text(encoding="utf-8").splitlines()) for module in modules(folder)}
    assert not {module: lines for module, lines in long.items() if lines > LONGEST_MODULE_LINES}


def test_lock_files_name_no_index() -> None:
    for lock in (ROOT / "requirements").glob("*.lock"):
        assert "://" not in lock.read_text(), lock


def test_every_sub_package_is_declared() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = {
        "penguinmails." + ".".join(module.parent.relative_to(ROOT).parts)
        for folder in FOLDERS
        for module in modules(folder)
        if "migrations" not in module.parts
    }
    assert found == set(declared)


@pytest.mark.slow
def test_the_wheel_holds_everything_and_imports_elsewhere(tmp_path: Path) -> None:
    """Builds the wheel, installs it into an empty environment that cannot see this checkout, imports all of it there."""
    source, built, empty = tmp_path / "source", tmp_path / "built", tmp_path / "empty"
    for name in FOLDERS:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source)
    uv = [sys.executable, "-m", "uv", "--offline", "--quiet"]
    subprocess.run([*uv, "build", "--wheel", "--no-build-isolation", "-o", built, source], check=True)
    subprocess.run([*uv, "venv", "--python", sys.executable, empty], check=True)
    python = empty / "bin" / "python"
    subprocess.run([*uv, "pip", "install", "--no-deps", "--python", python, *built.glob("*.whl")], check=True)

    site = Path(
        subprocess.check_output(
            [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], text=True
        ).strip()
    )
    installed = {path.relative_to(site / "penguinmails") for path in (site / "penguinmails").rglob("*")}
    copied = [path.relative_to(source) for name in FOLDERS for path in (source / name).rglob("*") if path.is_file()]
    missing = sorted(str(path) for path in set(copied) - installed)
    assert not missing, "see package-data in pyproject.toml"

    names = [
        "penguinmails." + ".".join(path.with_suffix("").parts).removesuffix(".__init__")
        for path in copied
        if path.suffix == ".py" and "migrations" not in path.parts and path != Path("stack/environment.py")
    ]
    program = (
        "import importlib, sys\n"
        "for name in sys.argv[2:]:\n"
        "    module = importlib.import_module(name)\n"
        "    assert module.__file__.startswith(sys.argv[1]), module.__file__\n"
        "import queue; assert queue.SimpleQueue\n"
    )
    # On PYTHONPATH, unlike in site-packages, the editable install's hook is not run: only the dependencies are seen.
    environment = {"PYTHONPATH": sysconfig.get_path("purelib"), "PATH": os.defpath, "HOME": str(tmp_path)}
    subprocess.run([python, "-c", program, site, *names], check=True, cwd=tmp_path, env=environment)
    helped = subprocess.check_output(
        [empty / "bin" / "penguinmails", "--help"], text=True, cwd=tmp_path, env=environment
    )
    assert all(group in helped for group in ("run", "oltp", "content", "marts", "queue", "doctor"))
