#!/usr/bin/env python3
"""`dashboards.py PROMTOOL` holds the chart's dashboards to the eleven rules of Grafana's dashboard-linter (github.com/grafana/dashboard-linter,
docs/index.md), and its alerts to their runbook pages. `dashboards.py http://PROMETHEUS` runs every query there over the last ten minutes, with the values
that the variables have there: each must return data, and more than zeros."""

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


def substituted(board, query, route=""):
    """A query of a dashboard as Grafana would send it, for all jobs and instances."""
    query = query.replace("$__rate_interval", "1m")
    for name, one in variables(board).items():
        query = query.replace(f"${name}", one.get("allValue", route))
    return query


def selectors(query):
    """The matchers of every selector, whose metrics are all written with braces."""
    return re.findall(r"\{([^}]*)\}", query)


def is_promql(promtool, board, query):
    rule = {"groups": [{"name": "one", "rules": [{"record": "one", "expr": substituted(board, query)}]}]}
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
    return all(one and is_promql(promtool, board, one[1]) for one in asked)


def panel_datasource_rule(board, _):
    return all(panel["datasource"]["uid"] == "${datasource}" for panel in board["panels"])


def panel_title_description_rule(board, _):
    return all(panel["title"] and panel["description"] for panel in board["panels"])


def panel_units_rule(board, _):
    return all(panel["fieldConfig"]["defaults"]["unit"] in UNITS for panel in board["panels"])


def queries(board):
    return [(panel["title"], target["expr"]) for panel in board["panels"] for target in panel["targets"]]


def target_promql_rule(board, promtool):
    return all(is_promql(promtool, board, query) for _, query in queries(board))


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


# What is well while it is zero.
MAY_BE_ZERO = {"Envoy started again"}


def ask(prometheus, what, **arguments):
    asked = urllib.parse.urlencode({name.replace("match", "match[]"): value for name, value in arguments.items()})
    with urllib.request.urlopen(f"{prometheus}/api/v1/{what}?{asked}", timeout=20) as answer:
        return json.load(answer)["data"]


def values_of(prometheus, board):
    """Of each variable that asks Prometheus, as Grafana would list them."""
    for name, one in variables(board).items():
        if asked := re.fullmatch(r"label_values\((.+), (\w+)\)", one["query"]):
            series = ask(prometheus, "series", match=substituted(board, asked[1]), start=time.time() - 600)
            yield name, {one[asked[2]] for one in series if asked[2] in one}


def returned(prometheus, board, query, route):
    now = time.time()
    result = ask(prometheus, "query_range", query=substituted(board, query, route), start=now - 600, end=now, step=5)["result"]
    return [float(value) for one in result for _, value in one["values"] if value not in ("NaN", "+Inf")]


def without_data(prometheus, path, counts):
    board = json.loads(path.read_text())
    known = dict(values_of(prometheus, board))
    yield from (f"{path.name}: ${name} has no values" for name, values in known.items() if not values)
    for title, query in queries(board):
        # One at a time; that one route shows all of it is enough.
        tried = [returned(prometheus, board, query, route) for route in sorted(known.get("route", {""}))]
        counts.append(max((len(values) for values in tried), default=0))
        if not any(any(values) or values and title in MAY_BE_ZERO for values in tried):
            yield f"{path.name}: {title}: {query} returns {'nothing but zeros' if any(tried) else 'no data'}"


def main():
    told = sys.argv[1]
    paths = sorted(FOLDER.glob("*.json"))
    assert len(paths) >= 4, paths
    if told.startswith("http"):
        counts = []
        faults = [fault for path in paths for fault in without_data(told, path, counts)]
        print(f"{len(counts)} queries of {len(paths)} dashboards, {sum(map(bool, counts))} return data: {sum(counts)} values", *faults, sep="\n")
    else:
        faults = [fault for path in paths for fault in faults_of(path, told)] + list(without_runbook())
        asked = sum(len(queries(json.loads(path.read_text()))) for path in paths)
        print(f"{len(paths)} dashboards, {len(RULES)} rules, {asked} queries", *faults, sep="\n")
    sys.exit(bool(faults))


main()
