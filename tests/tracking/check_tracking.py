"""Compares what MLflow and TensorBoard show of a run with what the run logged in metrics.jsonl.

check_tracking.py MOE_WRITE_RUN MLFLOW_SYNC TRAIN_MOE

moe_write_run logs known numbers through the code that train_moe uses; train_moe joins in when it has the options.
"""

import collections
import json
import math
import os
import pathlib
import re
import signal
import struct
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request

import mlflow
from tensorboard.backend.event_processing.event_accumulator import SCALARS, EventAccumulator

import servers

WRITE_RUN, SYNC, TRAIN = (pathlib.Path(a).resolve() for a in sys.argv[1:4])
REFERENCE = ["batch_size", "block_size", "max_iters", "eval_interval", "learning_rate", "device", "eval_iters",
             "dropout", "num_experts", "top_k"]
failures = 0


def check(ok, what):
    global failures
    failures += not ok
    print(f"  {'ok' if ok else 'FAILED'}  {what}", flush=True)


# What the run itself says it logged: {name: [(step, value, milliseconds)]}, as often as it was logged.
def logged(out):
    rows = collections.defaultdict(list)
    for line in (out / "metrics.jsonl").read_text().splitlines():
        row = json.loads(line)
        for name, value in row.items():
            if name in ("step", "time"):
                continue
            value = math.nan if value in (None, "NaN") else value
            if isinstance(value, (int, float)):
                rows[name].append((row["step"], float(value), row["time"] * 1000))
    return rows


# Two lists of (step, value, milliseconds); None for a time that is not compared.
def same(got, wanted):
    return len(got) == len(wanted) and all(
        g[0] == w[0] and (g[1] == w[1] or math.isnan(g[1]) and math.isnan(w[1])) and
        (g[2] is None or abs(g[2] - w[2]) <= 1)
        for g, w in zip(sorted(got, key=order), sorted(wanted, key=order)))


def order(point):
    return (point[0], point[2] or 0)


def compare_mlflow(server, out, status):
    client = mlflow.MlflowClient(server.url)
    experiment = client.get_experiment_by_name("makemoe")
    runs = client.search_runs([experiment.experiment_id], f"tags.`makemoe.out` = '{out}'")
    check(len(runs) == 1, f"MLflow has one run of {out.name}")
    if len(runs) != 1:
        return
    run = runs[0]
    wanted = logged(out)
    points = sum(map(len, wanted.values()))
    got = {name: [(m.step, m.value, m.timestamp) for m in client.get_metric_history(run.info.run_id, name)]
           for name in run.data.metrics}
    check(got.keys() == wanted.keys(), f"it has the metrics {', '.join(sorted(wanted))}")
    check(all(same(got.get(name, []), wanted[name]) for name in wanted), f"and all {points} values, once each")
    check(run.info.status == status, f"its status is {status}")
    missing = [name for name in REFERENCE if name not in run.data.params]
    check(not missing, f"{len(run.data.params)} parameters, the reference's among them")
    files = [f.path for f in client.list_artifacts(run.info.run_id)]
    check({"config.json", "model.safetensors"} <= set(files), f"its files are {', '.join(files)}")
    same_bytes = all(
        pathlib.Path(client.download_artifacts(run.info.run_id, name)).read_bytes() == (out / name).read_bytes()
        for name in files if (out / name).is_file())
    check(same_bytes, "with the bytes of the run's folder")


def as_float(value):
    return struct.unpack("f", struct.pack("f", value))[0]


# The last value of each step, as a float.
def last_values(points):
    return [(step, as_float(value), time) for step, value, time in {p[0]: p for p in points}.values()]


def compare_tensorboard(work, out):
    wanted = {name: last_values(points) for name, points in logged(out).items()}
    points = sum(map(len, wanted.values()))
    events = EventAccumulator(str(out / "tb"), size_guidance={SCALARS: 0})
    events.Reload()
    tags = events.Tags()["scalars"]
    check(set(tags) == wanted.keys(), f"TensorBoard has the scalars {', '.join(sorted(wanted))}")
    check(all(same([(e.step, e.value, e.wall_time * 1000) for e in events.Scalars(tag)], wanted[tag]) for tag in tags),
          f"and all {points} values of each step's last pass, read by its EventAccumulator")
    server = servers.tensorboard_service(work, out)
    server.start()
    try:
        check(eventually(lambda: served(server, wanted)), "and served by its web server")
    finally:
        server.stop()


def eventually(condition):
    for _ in range(30):
        if condition():
            return True
        time.sleep(1)
    return False


def served(server, wanted):
    def ask(path, **query):
        with urllib.request.urlopen(f"{server.url}{path}?{urllib.parse.urlencode(query)}", timeout=30) as reply:
            return json.load(reply)

    tags = ask("/data/plugin/scalars/tags").get("tb", {})
    return tags.keys() == wanted.keys() and all(
        same([(step, math.nan if value in (None, "NaN") else value, wall * 1000) for wall, step, value in
              ask("/data/plugin/scalars/scalars", run="tb", tag=tag)], wanted[tag]) for tag in tags)


# The commands that make a run of `steps` steps, {name: arguments}.
def runners(work, steps):
    commands = {"moe_write_run": lambda out, url: [WRITE_RUN, out, "--steps", steps, "--pause", 10, "--tensorboard",
                                                   f"--mlflow={url}"]}
    if "--mlflow" in subprocess.run([TRAIN, "--help"], capture_output=True, text=True).stdout:
        text = work / "text.txt"
        text.write_text("".join(f"the {i * i % 97} quick brown foxes\n" for i in range(2000)))
        small = ["--n-embed", 32, "--n-head", 4, "--n-layer", 2, "--num-experts", 4, "--eval-interval", 50, "--eval-iters", 5]
        commands["train_moe"] = lambda out, url: [TRAIN, text, *small, "--max-iters", steps, "--out", out, "--tensorboard",
                                                  f"--mlflow={url}"]
    return commands


def run(arguments, **more):
    return subprocess.run([str(a) for a in arguments], capture_output=True, text=True, check=True, **more)


def rows_in(out):
    file = out / "metrics.jsonl"
    return file.read_text().count("\n") if file.exists() else 0


def check_good_server(work, server):
    for name, command in runners(work, 300).items():
        print(f"{name}, with a server that works", flush=True)
        out = work / f"good-{name}"
        print("  " + run(command(out, server.url)).stderr.strip().replace("\n", "\n  "), flush=True)
        compare_mlflow(server, out, "FINISHED")
        compare_tensorboard(work, out)


def check_rewind(work, server):
    print("a run that is killed at step 200 and goes on at 150", flush=True)
    out = work / "rewound"
    common = ["--tensorboard", f"--mlflow={server.url}"]
    run([WRITE_RUN, out, "--steps", 200, "--exit-code", 143, *common])
    run([WRITE_RUN, out, "--steps", 250, "--resume-at", 150, *common])
    compare_mlflow(server, out, "FINISHED")
    compare_tensorboard(work, out)


def check_server_killed(work, server):
    for name, command in runners(work, 600).items():
        print(f"{name}, whose server is killed in mid-run", flush=True)
        out = work / f"killed-{name}"
        said_file = work / f"said-{name}"
        with said_file.open("w") as said:
            process = subprocess.Popen([str(a) for a in command(out, server.url)], stdout=said, stderr=said)
        while rows_in(out) < 250 and process.poll() is None:
            time.sleep(0.01)
        server.stop(signal.SIGKILL)
        at = rows_in(out)
        process.wait()
        said = said_file.read_text()
        check(process.returncode == 0 and rows_in(out) >= 600, f"killed after {at} rows, it made all {rows_in(out)}")
        check("rows are not sent" in said, "and said: " + re.search("mlflow:.*not sent.*|$", said)[0])
        server.start()
        for _ in range(2):
            print("  " + run([SYNC, out]).stdout.strip(), flush=True)
            compare_mlflow(server, out, "FINISHED")


def check_bad_servers(work, server):
    print("what servers cost: 1000 steps of 2 ms", flush=True)
    page = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n<htm>"
    error = b"HTTP/1.1 500 Oops\r\nContent-Length: 5\r\n\r\nsorry"
    urls = {"none": "off", "works": server.url, "dead": "http://127.0.0.1:9", "hangs": servers.BadServer(b"").url,
            "says 500": servers.BadServer(error).url, "garbage": servers.BadServer(os.urandom(300)).url,
            "a page": servers.BadServer(page).url}
    for name, url in urls.items():
        out = work / f"cost-{name.replace(' ', '-')}"
        said = run([WRITE_RUN, out, "--steps", 1000, "--pause", 2, f"--mlflow={url}"]).stderr
        print(f"    {name:9} {re.search('logging took.*', said)[0]}", flush=True)
        if name == "none":
            continue
        if name != "works":
            run([SYNC, out, "--mlflow", server.url])
        compare_mlflow(server, out, "FINISHED")


def main():
    with tempfile.TemporaryDirectory(prefix="moe-tracking-") as folder:
        work = pathlib.Path(folder).resolve()
        server = servers.mlflow_service(work)
        server.start()
        try:
            check_good_server(work, server)
            check_rewind(work, server)
            check_server_killed(work, server)
            check_bad_servers(work, server)
        finally:
            server.stop()
    print(f"{failures} checks failed" if failures else "all checks hold")
    return 1 if failures else 0


if __name__ == "__main__":
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    os.environ["no_proxy"] = "127.0.0.1"
    sys.exit(main())
