"""Checks the files of a run against another project's server."""

import json
import pathlib
import sys

desk = pathlib.Path(sys.argv[1])


def lines(name: str) -> list[dict]:
    return [json.loads(line) for line in (desk / name).read_text().splitlines()]


summary = json.loads((desk / "summary.json").read_text())
results = lines("runs/batch/results.jsonl")
log = (desk / "runs/batch/cascadeck.log").read_text()
checked = (desk / "check.txt").read_text()

assert (summary["total"], summary["done"], summary["failed"]) == (300, 300, 0), summary
assert sorted(line["id"] for line in results) == sorted(f"row-{n}" for n in range(1, 301))
assert [line["id"] for line in lines("exported.jsonl")] == [f"row-{n}" for n in range(1, 301)]
for line in results:
    assert line["status"] == "done" and line["output"] == "Every answer of this parrot is the same.", line
    assert (line["key"], line["model"], line["finish_reason"]) == ("good", "parrot", "stop"), line
    assert line["usage"]["input_tokens"] > 0 and line["usage"]["output_tokens"] > 0, line
assert "wrong" in checked and "BAD: invalid_key" in checked, checked
assert "good, 3 models listed" in checked, checked
assert "key wrong is off, invalid_key" in log, log
for outcome in ("rate_limited_minute", "server_error"):
    assert outcome in log, f"{outcome} is not in the log:\n{log}"
print(f"LiteLLM answered all 300; {summary['attempts']} requests, {summary['rate_limited']} refused for quota")
