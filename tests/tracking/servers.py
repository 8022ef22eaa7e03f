"""The servers that a run is reported to: MLflow's and TensorBoard's own, and some that behave badly."""

import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request

TOOLS = pathlib.Path(sys.executable).parent


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Service:
    """A server program with an address of its own, which survives being stopped and started."""

    def __init__(self, work, name, arguments, ready_path):
        self.log = work / f"{name}.log"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.arguments = [str(a) for a in arguments] + ["--host", "127.0.0.1", "--port", str(self.port)]
        self.ready_url = self.url + ready_path
        self.process = None

    def start(self):
        environment = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                self.arguments, stdout=log, stderr=log, env=environment, start_new_session=True
            )
        for _ in range(600):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(self.ready_url, timeout=1).close()
                return
            if self.process.poll() is not None:
                break
            time.sleep(0.1)
        raise SystemExit(f"{self.arguments[0]} does not start:\n{self.log.read_text()}")

    def stop(self, how=signal.SIGTERM):
        if self.process and self.process.poll() is None:
            os.killpg(self.process.pid, how)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(10)
                return
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def mlflow_service(work):
    store = ["--backend-store-uri", f"sqlite:///{work}/mlflow.db", "--artifacts-destination", work / "artifacts"]
    return Service(work, "mlflow", [TOOLS / "mlflow", "server", "--workers", "1", *store], "/health")


def tensorboard_service(work, folder):
    arguments = ["--logdir", folder, "--reload_interval", "1", "--samples_per_plugin", "scalars=1000000"]
    return Service(work, "tensorboard", [TOOLS / "tensorboard", *arguments], "/data/runs")


class BadServer:
    """Takes every connection and answers with fixed bytes, or never when there are none."""

    def __init__(self, answer):
        self.answer = answer
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.held = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            connection, _ = self.listener.accept()
            if not self.answer:
                self.held.append(connection)
                continue
            with contextlib.suppress(OSError), connection:
                connection.recv(1 << 16)
                connection.sendall(self.answer)
