"""Makes the project's virtual environment from its lock files.

Belongs here: creating `.venv`, installing the locked packages and this project into it, saying what is missing on the
machine. Does not belong here: anything that needs an installed package; this runs on a bare Python 3.11 (`python3 -I`).
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = ROOT / ".venv"
PYTHON = ENVIRONMENT / "bin" / "python"
LOCKS = {profile: ROOT / "requirements" / f"{profile}.lock" for profile in ("bootstrap", "runtime", "development")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("profile", choices=["runtime", "development"], help="what to install")
    profile = parser.parse_args().profile
    if sys.version_info < (3, 11):  # noqa: UP036 - this file is what tells people with an older Python
        sys.exit(f"Python {platform.python_version()} is too old: install Python 3.11 or newer, or say make PYTHON=...")
    with one_at_a_time():
        if _is_installed(profile) or _is_installed("development"):  # development includes runtime
            return
        print(f"Making the environment in {ENVIRONMENT.name} ({profile}) ...", flush=True)
        if not any(_stamp(each).exists() for each in ("runtime", "development")):
            shutil.rmtree(ENVIRONMENT, ignore_errors=True)  # killed in the middle: nobody knows what is whole in it
        for each in ("runtime", "development"):
            _stamp(each).unlink(missing_ok=True)
        make_environment()
        install(profile)
        _stamp(profile).write_text(fingerprint(profile))


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    """Two `make` at once wait for one another; the lock goes with its process, however that ends."""
    with (ROOT / "requirements" / "bootstrap.in").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def fingerprint(profile: str) -> str:
    """Returns a digest of everything the installed environment follows from."""
    digest = hashlib.sha256(f"{sys.version_info[:2]} {ROOT}".encode())
    for path in (LOCKS["bootstrap"], LOCKS[profile], ROOT / "pyproject.toml"):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def make_environment() -> None:
    """Creates `.venv` with the locked installer in it; one that works is kept."""
    installer = ["-m", "pip"]
    options = ["--quiet", "--disable-pip-version-check", "--require-hashes", "--no-deps", "-r", str(LOCKS["bootstrap"])]
    if not _runs(PYTHON):
        shutil.rmtree(ENVIRONMENT, ignore_errors=True)
        if importlib.util.find_spec("ensurepip"):
            run(sys.executable, "-m", "venv", str(ENVIRONMENT))
        elif importlib.util.find_spec("pip"):  # Debian's python3 without python3-venv
            run(sys.executable, "-m", "venv", "--without-pip", str(ENVIRONMENT))
        else:
            sys.exit("This Python has neither ensurepip nor pip: install python3-venv (Debian) or a complete Python.")
    if _runs(PYTHON, "-m", "pip", "--version"):
        run(str(PYTHON), *installer, "install", *options)
    else:
        run(sys.executable, *installer, "--python", str(PYTHON), "install", *options)


def install(profile: str) -> None:
    """Installs the locked packages and this project, editable, without resolving anything anew."""
    uv = [str(ENVIRONMENT / "bin" / "uv"), "pip", "install", "--python", str(PYTHON)]
    if not sys.stderr.isatty():  # on a terminal it shows how far it has come
        uv.append("--quiet")
    # Compiled now, by all cores: else the first start pays, or every start where Python may not write bytecode.
    locked = ("--compile-bytecode", "--require-hashes", "--no-deps", "-r", str(LOCKS[profile]))
    run(*uv, *locked, env=installer_settings())
    run(*uv, "--no-deps", "--no-build-isolation", "--reinstall-package", "penguinmails", "-e", str(ROOT))


def installer_settings() -> dict[str, str]:
    """Returns the environment for uv, which does not read pip's settings: a site's mirror and certificate go along."""
    settings = dict(os.environ)
    mirror = settings.get("PIP_INDEX_URL") or _pip_setting("global.index-url")
    if mirror:
        settings.setdefault("UV_DEFAULT_INDEX", mirror)
    certificate = settings.get("PIP_CERT") or _pip_setting("global.cert")
    if certificate:
        settings.setdefault("SSL_CERT_FILE", certificate)
    return settings


def run(*command: str, env: dict[str, str] | None = None) -> None:
    """Runs `command`, ending this program with its output when it fails."""
    done = subprocess.run(command, env=env, check=False)
    if done.returncode:
        sys.exit(f"Setting up failed in: {' '.join(command[:6])} ... (exit {done.returncode}). Mend it and run again.")


def _pip_setting(name: str) -> str:
    done = subprocess.run(
        [str(PYTHON), "-m", "pip", "config", "get", name], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() if done.returncode == 0 else ""


def _runs(python: Path, *arguments: str) -> bool:
    command = [str(python), *(arguments or ("-c", ""))]
    return python.exists() and subprocess.run(command, capture_output=True, check=False).returncode == 0


def _is_installed(profile: str) -> bool:
    stamp = _stamp(profile)
    return stamp.exists() and stamp.read_text() == fingerprint(profile)


def _stamp(profile: str) -> Path:
    return ENVIRONMENT / f"{profile}.installed"


if __name__ == "__main__":
    main()
