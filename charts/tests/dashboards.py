#!/usr/bin/env python3
"""Holds the chart's dashboards to the eleven rules of Grafana's dashboard-linter (github.com/grafana/dashboard-linter, docs/index.md), and its alerts
to their runbook pages. `dashboards.py PROMTOOL` checks the files; `dashboards.py PROMTOOL http://PROMETHEUS` also runs every query there over the last ten
minutes, and each must return data."""

import json
import pathlib
import re
import subprocess
import sys
import time
import urllib.parse
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
FOLDER = ROOT / "charts/clew/dashboards"
UNITS = {"short", "none", "ops", "percentunit", "ms", "s", "Bps", "bytes"}
RATE = r"\b(?:rate|irate|increase|delta)\("


def variables(board):
    return {one["name"]: one for one in board["templating"]["list"]}


def substituted(query, route=".+"):
    """A query as Grafana would send it, for all jobs and instances."""
    query = query.replace("$__rate_interval", "1m").replace("$job", ".+").replace("$instance", ".+")
    return query.replace('="$route"', f'=~"{route}"')


def selectors(query):
    """The matchers of every selector, whose metrics are all written with braces."""
    return re.findall(r"\{([^}]*)\}", query)


def is_promql(promtool, query):
    rule = {"groups": [{"name": "one", "rules": [{"record": "one", "expr": substituted(query)}]}]}
    told = subprocess.run([promtool, "check", "rules", "/dev/stdin"], input=json.dumps(rule), capture_output=True, text=True)
    return told.returncode == 0


def template_datasource_rule(board, _):
    one = variables(board).get("datasource", {})
    return one.get("type") == "datasource" and one.get("query") == "prometheus"


def templated(board, name):
    one = variables(board).get(name, {})
    datasource = one.get("datasource", {}).get("uid") == "${datasource}"
    return one.get("type") == "query" and datasource and one.get("includeAll") and one.get("multi") and one.get("allValue") == ".+"


def template_job_rule(board, _):
    return templated(board, "job")


def template_instance_rule(board, _):
    return templated(board, "instance")


def template_label_promql_rule(board, promtool):
    asked = [re.fullmatch(r"label_values\((.+), (\w+)\)", one["query"]) for one in board["templating"]["list"] if one["type"] == "query"]
    return all(one and is_promql(promtool, one[1]) for one in asked)


def panel_datasource_rule(board, _):
    return all(panel["datasource"]["uid"] == "${datasource}" for panel in board["panels"])


def panel_title_description_rule(board, _):
    return all(panel["title"] and panel["description"] for panel in board["panels"])


def panel_units_rule(board, _):
    return all(panel["fieldConfig"]["defaults"]["unit"] in UNITS for panel in board["panels"])


def queries(board):
    return [(panel["title"], target["expr"]) for panel in board["panels"] for target in panel["targets"]]


def target_promql_rule(board, promtool):
    return all(is_promql(promtool, query) for _, query in queries(board))


def target_rate_interval_rule(board, _):
    return all(len(re.findall(RATE, query)) == query.count("[$__rate_interval]") == query.count("[") for _, query in queries(board))


def target_job_rule(board, _):
    return all(selectors(query) and all('job=~"$job"' in one for one in selectors(query)) for _, query in queries(board))


def target_instance_rule(board, _):
    return all(selectors(query) and all('instance=~"$instance"' in one for one in selectors(query)) for _, query in queries(board))


RULES = [
    template_datasource_rule,
    template_job_rule,
    template_instance_rule,
    template_label_promql_rule,
    panel_datasource_rule,
    panel_title_description_rule,
    panel_units_rule,
    target_promql_rule,
    target_rate_interval_rule,
    target_job_rule,
    target_instance_rule,
]


def nulls(value):
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return value is None or any(map(nulls, inner))


def spoiled(board):
    """The same board with one rule broken after the other."""
    for rule, old, new in [
        (template_datasource_rule, '"query": "prometheus"', '"query": "loki"'),
        (template_job_rule, '"name": "job"', '"name": "jobs"'),
        (template_instance_rule, '"name": "instance"', '"name": "instances"'),
        (template_label_promql_rule, "label_values({", "label_values({{"),
        (template_label_promql_rule, "label_values(clew", "label_values(}clew"),
        (panel_datasource_rule, '"uid": "${datasource}"', '"uid": "P1"'),
        (panel_title_description_rule, '"description": "', '"description": "", "was": "'),
        (panel_units_rule, '"unit": "', '"unit": "parsec'),
        (target_promql_rule, '"expr": "', '"expr": "sum('),
        (target_rate_interval_rule, "[$__rate_interval]", "[5m]"),
        (target_job_rule, "job=~", "jobs=~"),
        (target_instance_rule, "instance=~", "instances=~"),
    ]:
        text = json.dumps(board)
        if old in text:
            yield rule, json.loads(text.replace(old, new))


def faults_of(path, promtool):
    board = json.loads(path.read_text())
    faults = [f"{path.name}: {rule.__name__.replace('_', '-')}" for rule in RULES if not rule(board, promtool)]
    faults += [f"{path.name}: a null"] if nulls(board) else []
    broken = list(spoiled(board))
    assert {rule for rule, _ in broken} == set(RULES), f"{path.name}: not every rule was tried"
    return faults + [f"{path.name}: {rule.__name__} finds nothing in a board that breaks it" for rule, one in broken if rule(one, promtool)]


def without_runbook():
    for path in sorted((ROOT / "charts/clew/alerts").glob("*.yaml")):
        for alert in re.split(r"- alert: ", path.read_text())[1:]:
            name = alert.split()[0]
            page = ROOT / f"docs/runbooks/{name}.md"
            linked = f"/docs/runbooks/{name}.md" in alert
            if not (linked and page.is_file() and page.read_text().startswith(f"# {name}\n")):
                yield f"{path.name}: {name} has no page in docs/runbooks, or does not name it"
            if page.is_file() and re.search(r"expr: '(.*)'", alert)[1] not in page.read_text():
                yield f"docs/runbooks/{name}.md shows another query than {path.name}"


def without_data(prometheus, path):
    for title, query in queries(json.loads(path.read_text())):
        now = time.time()
        asked = urllib.parse.urlencode({"query": substituted(query), "start": now - 600, "end": now, "step": 5})
        with urllib.request.urlopen(f"{prometheus}/api/v1/query_range?{asked}", timeout=20) as answer:
            result = json.load(answer)["data"]["result"]
        values = [value for one in result for _, value in one["values"]]
        if not any(value not in ("NaN", "+Inf") for value in values):
            yield f"{path.name}: {title}: {query} returns no data"


def main():
    promtool, prometheus = sys.argv[1], sys.argv[2:]
    paths = sorted(FOLDER.glob("*.json"))
    assert len(paths) >= 4, paths
    faults = [fault for path in paths for fault in faults_of(path, promtool)] + list(without_runbook())
    faults += [fault for url in prometheus for path in paths for fault in without_data(url, path)]
    print(f"{len(paths)} dashboards, {len(RULES)} rules, {sum(len(queries(json.loads(path.read_text()))) for path in paths)} queries", *faults, sep="\n")
    sys.exit(bool(faults))


main()
