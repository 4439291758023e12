"""Real Spark on this machine, for comparisons: a standalone master, workers, and a Spark Connect server.

Spark is installed from the package index into an environment of its own (it is no dependency of the platform), once, in a
folder beside the other caches of this user. Needs Java 17 or newer. Everything started here is stopped again.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path

import platformdirs

CACHE = platformdirs.user_cache_path("penguinmails")
_START_SECONDS = 120.0
_HOST = "127.0.0.1"
_CONNECT_CLASS = "org.apache.spark.sql.connect.service.SparkConnectServer"


@contextmanager
def standalone_cluster(*, workers: int) -> Iterator[str]:
    """Starts a master and workers of one core each; yields the address of the master."""
    port = _free_port()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="penguinmails-spark-")))
        master = ["org.apache.spark.deploy.master.Master", "--host", _HOST, "--port", str(port), "--webui-port", "0"]
        stack.enter_context(_running([_tool("spark-class"), *master], folder / "master.log", port))
        address = f"spark://{_HOST}:{port}"
        for number in range(workers):
            own = _free_port()
            options = ["--host", _HOST, "--port", str(own), "--webui-port", "0", "--cores", "1", "--memory", "2g"]
            worker = ["org.apache.spark.deploy.worker.Worker", *options, "--work-dir", str(folder / f"work-{number}")]
            stack.enter_context(
                _running([_tool("spark-class"), *worker, address], folder / f"worker-{number}.log", own)
            )
        yield address


@contextmanager
def connect_server(master: str) -> Iterator[str]:
    """Starts a Spark Connect server on a master; yields its address."""
    port = _free_port()
    settings = {
        "spark.connect.grpc.binding.address": _HOST,
        "spark.connect.grpc.binding.port": str(port),
        "spark.driver.host": _HOST,
        "spark.executor.memory": "2g",
        "spark.driver.memory": "2g",
        "spark.ui.enabled": "false",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": "4",
    }
    options = [option for name, value in settings.items() for option in ("--conf", f"{name}={value}")]
    command = [_tool("spark-submit"), "--master", master, "--class", _CONNECT_CLASS, *options, "spark-internal"]
    with (
        tempfile.TemporaryDirectory(prefix="penguinmails-spark-") as folder,
        _running(command, Path(folder) / "connect.log", port),
    ):
        yield f"sc://{_HOST}:{port}"


def _tool(name: str) -> str:
    """Returns a program of Spark's distribution; installs it first where it is not there."""
    environment = CACHE / f"spark-{version('pyspark-client')}"
    if not (environment / "complete").exists():
        print(f"Installing Spark {version('pyspark-client')} into {environment} ...", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", environment], check=True)
        requirement = f"pyspark[connect]=={version('pyspark-client')}"
        subprocess.run([environment / "bin" / "python", "-m", "pip", "install", "-q", requirement], check=True)
        (environment / "complete").touch()
    (home,) = environment.glob("lib/python*/site-packages/pyspark")
    return str(home / "bin" / name)


@contextmanager
def _running(command: list[str], log: Path, port: int) -> Iterator[None]:
    """Runs a server until the end of the block; it is ready when something listens on its port."""
    environment = os.environ | {"SPARK_LOCAL_IP": _HOST, "SPARK_NO_DAEMONIZE": "1"}
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output, env=environment) as process:
        try:
            _wait_for(process, log, port)
            yield
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait_for(process: subprocess.Popen[bytes], log: Path, port: int) -> None:
    give_up_at = time.monotonic() + _START_SECONDS
    while time.monotonic() < give_up_at and process.poll() is None:
        with socket.socket() as attempt:
            if attempt.connect_ex((_HOST, port)) == 0:
                return
        time.sleep(0.2)
    sys.exit(f"{process.args!r} does not listen on port {port}:\n{log.read_text(errors='replace')[-3000:]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        return int(probe.getsockname()[1])
