"""Lets a real Prometheus scrape a run, and compares what it has at the end with the run's database.

Usage: scrape.py CASCADECK ROOT FOLDER
"""

import json
import pathlib
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

PROGRAM, ROOT, DESK = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
HERE = ROOT / "tests/prometheus"
ROWS = 240
# The share of the time that scraping may take.
MAX_SHARE = 0.01
SCRAPE_INTERVAL = 15.0


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def check(holds, message):
    if not holds:
        sys.exit(f"FAILED: {message}")


def wait_for(what, condition, seconds=90):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.2)
    sys.exit(f"FAILED: timed out waiting for {what}")


class Prometheus:
    def __init__(self, port):
        self.url = f"http://127.0.0.1:{port}/api/v1"

    def api(self, path, **params):
        query = urllib.parse.urlencode(params)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f"{self.url}/{path}?{query}", timeout=10) as response:
                return json.load(response)["data"]
        except (urllib.error.URLError, ConnectionError):
            return None

    def query(self, expression):
        """The values of an instant query by their labels."""
        found = self.api("query", query=expression)
        return [(it["metric"], float(it["value"][1])) for it in found["result"]] if found else []

    def last(self, selector, by=()):
        """The sums of the last values, by these labels."""
        values = self.query(f"sum by ({','.join(by)}) (last_over_time({selector}[10m]))")
        return {tuple(labels.get(label, "") for label in by): value for labels, value in values}


def prepare():
    sim_port, metrics_port, prometheus_port = free_port(), free_port(), free_port()
    keys = subprocess.run(
        [PROGRAM, "sim", "--profile", HERE / "profile.toml", "--listen", f"127.0.0.1:{sim_port}", "--print-keys"],
        check=True, capture_output=True, text=True,
    ).stdout
    keys += f'\n[metrics]\nlisten = "{metrics_port}"\nlinger = "60s"\n'
    (DESK / "keys.toml").write_text(keys)
    (DESK / "keys.toml").chmod(0o600)
    questions = ["[sim:blocked]", "[sim:400]"]
    rows = [{"id": f"q{n}", "question": f"What is {n} + 1000?"} for n in range(ROWS)]
    rows += [{"id": f"fault{n}", "question": text} for n, text in enumerate(questions)]
    rows += [{"id": f"cut{n}", "question": "Explain tides at length.", "max_tokens": 3} for n in range(3)]
    (DESK / "batch.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (DESK / "prometheus.yml").write_text(json.dumps({
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
        "rule_files": [str(ROOT / "assets/grafana/alerts.yml")],
        "scrape_configs": [
            {"job_name": "cascadeck", "static_configs": [{"targets": [f"127.0.0.1:{metrics_port}"]}]}
        ],
    }))
    return sim_port, prometheus_port


def run_and_scrape(sim_port, prometheus_port):
    """Runs the batch while Prometheus scrapes it, and checks what it has during and after the run."""
    processes = []

    def start(name, args, **options):
        log = open(DESK / f"{name}.log", "w")
        processes.append(subprocess.Popen(args, cwd=DESK, stdout=log, stderr=log, **options))
        return processes[-1]

    try:
        start("sim", [PROGRAM, "sim", "--profile", HERE / "profile.toml", "--listen", f"127.0.0.1:{sim_port}"])
        start("prometheus", [
            "prometheus", f"--config.file={DESK}/prometheus.yml", f"--storage.tsdb.path={DESK}/data",
            f"--web.listen-address=127.0.0.1:{prometheus_port}",
        ])
        prometheus = Prometheus(prometheus_port)
        wait_for("Prometheus", lambda: prometheus.api("status/buildinfo"))
        run = start("run", [
            PROGRAM, "run", "batch.jsonl", "--prompt", "{{ question }}", "--headless", "--in-flight", "4",
            "--strategy", "round_robin", "--no-check",
        ], env={"HOME": str(DESK), "PATH": "/usr/bin:/bin"})
        wait_for("a scrape during the run", lambda: run.poll() is not None or prometheus.last("cascadeck_requests_total"))
        check(run.poll() is None, f"the run ended early: {(DESK / 'run.log').read_text()}")
        check_metadata(prometheus)
        wait_for("the end of the run", lambda: run.poll() is not None, 300)
        check(run.returncode == 3, f"the run ended with {run.returncode}: {(DESK / 'run.log').read_text()}")
        compare(prometheus)
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()


def check_metadata(prometheus):
    targets = prometheus.api("targets", state="active")["activeTargets"]
    check([target["health"] for target in targets] == ["up"], f"the target is not up: {targets}")
    metadata = {it["metric"]: it for it in prometheus.api("targets/metadata")}
    check(len(metadata) > 30, f"only {len(metadata)} metrics")
    for name, want in [
        ("cascadeck_requests", "counter"),
        ("cascadeck_available_keys", "gauge"),
        ("cascadeck_request_duration_seconds", "histogram"),
    ]:
        # Older versions name a counter by its samples.
        found = metadata.get(name) or metadata.get(f"{name}_total")
        check(found and found["type"] == want, f"{name} is {found}, not a {want}")
    check(metadata["cascadeck_eta_seconds"]["unit"] in ("seconds", ""), "the unit of the ETA")
    for name, it in metadata.items():
        check(it["help"], f"{name} has no help")


def compare(prometheus):
    """Compares the last values that Prometheus has with the sums of the run's database."""
    database = sqlite3.connect(f"file:{DESK}/runs/batch/run.db?mode=ro", uri=True)

    def recorded(sql):
        return {tuple(str(it) for it in row[:-1]): float(row[-1]) for row in database.execute(sql)}

    def same(what, found, want):
        close = found.keys() == want.keys() and all(abs(found[it] - want[it]) < 1e-6 for it in want)
        check(close and want, f"{what}: Prometheus has {found}, the record {want}")
        print(f"{what}: {sum(want.values()):g} in {len(want)} series, as recorded")

    same(
        "requests by provider, model, key, status and outcome",
        prometheus.last("cascadeck_requests_total", ("provider", "model", "key", "status", "outcome")),
        recorded(
            "SELECT provider, model, key, ifnull(status, 'none'), outcome, count(*) FROM attempts"
            " JOIN routes ON routes.id = route"
            " WHERE outcome NOT IN ('client_trouble', 'unreadable_input', 'over_budget', 'no_route') GROUP BY 1, 2, 3, 4, 5"
        ),
    )
    same(
        "attempts by outcome",
        prometheus.last("cascadeck_attempts_total", ("outcome",)),
        recorded("SELECT outcome, count(*) FROM attempts GROUP BY 1"),
    )
    token_columns = {
        "input": "input_tokens - cached_input_tokens - cache_write_tokens - cache_write_1h_tokens",
        "cached_input": "cached_input_tokens",
        "cache_write": "cache_write_tokens",
        "cache_write_1h": "cache_write_1h_tokens",
        "output": "output_tokens",
        "thinking": "thinking_tokens",
    }
    for kind, column in token_columns.items():
        same(
            f"{kind} tokens",
            prometheus.last(f'cascadeck_tokens_total{{kind="{kind}"}}', ("key",)),
            recorded(f"SELECT key, sum({column}) FROM attempts JOIN routes ON routes.id = route GROUP BY 1"),
        )
    same(
        "cost in dollars",
        prometheus.last("cascadeck_cost_usd_total", ("key",)),
        recorded("SELECT key, sum(cost) / 1e12 FROM attempts JOIN routes ON routes.id = route GROUP BY 1"),
    )
    states = "CASE state WHEN 1 THEN 'done' ELSE 'failed' END"
    same(
        "ended items by state and outcome",
        prometheus.last("cascadeck_items_ended_total", ("state", "outcome")),
        recorded(f"SELECT {states}, outcome, count(*) FROM progress WHERE state <> 0 GROUP BY 1, 2"),
    )
    same(
        "items by state",
        prometheus.last('cascadeck_items{state=~"done|failed"}', ("state",)),
        recorded(f"SELECT {states}, count(*) FROM progress WHERE state <> 0 GROUP BY 1"),
    )
    same(
        "truncated items",
        prometheus.last("cascadeck_items_truncated"),
        recorded("SELECT count(*) FROM progress WHERE state = 1 AND outcome = 'truncated'"),
    )
    same(
        "answered requests in the latency histogram",
        prometheus.last("cascadeck_request_duration_seconds_count", ("model",)),
        recorded(
            "SELECT model, count(*) FROM attempts JOIN routes ON routes.id = route"
            " WHERE outcome IN ('ok', 'truncated') GROUP BY 1"
        ),
    )
    [(_, duration)] = prometheus.query("avg(avg_over_time(scrape_duration_seconds[10m]))")
    share = duration / SCRAPE_INTERVAL
    print(f"a scrape takes {duration * 1000:.1f} ms: {share:.4%} of the time at an interval of {SCRAPE_INTERVAL:g} s")
    check(share < MAX_SHARE, "scraping takes too much time")


if __name__ == "__main__":
    run_and_scrape(*prepare())
