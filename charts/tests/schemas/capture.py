#!/usr/bin/env python3
"""Captures what the API servers of several versions of Kubernetes take of the kinds that the chart has: their published OpenAPI documents, of the
Go modules named here, without prose, and closed, so that a field that a version does not know is an error. One definition a line.

Needs Go and PyYAML. capture.py [VERSION…]: all versions, or these."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

import yaml

VERSIONS = ["v1.33.13", "v1.34.4", "v1.35.4", "v1.36.3", "v1.37.2"]
KINDS = {
    "": ["ConfigMap", "Pod", "Service", "ServiceAccount"],
    "apiextensions.k8s.io": ["CustomResourceDefinition"],
    "apps": ["Deployment"],
    "coordination.k8s.io": ["Lease"],
    "networking.k8s.io": ["NetworkPolicy"],
    "policy": ["PodDisruptionBudget"],
    "rbac.authorization.k8s.io": ["ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"],
}
OPERATOR = "v0.85.0"
MONITORS = ["servicemonitors", "podmonitors", "prometheusrules"]
PROSE = {"description", "default", "externalDocs"}
# What the documents call strings, and the API servers take as numbers too.
NUMBERS_TOO = {"io.k8s.apimachinery.pkg.util.intstr.IntOrString", "io.k8s.apimachinery.pkg.api.resource.Quantity"}


def module(name, version, cache):
    environment = {**os.environ, "GOMODCACHE": cache, "GOFLAGS": "-mod=mod -modcacherw", "GOWORK": "off"}
    told = subprocess.run(["go", "mod", "download", "-json", f"{name}@{version}"],
                          env=environment, cwd=cache, check=True, capture_output=True, text=True)
    return pathlib.Path(json.loads(told.stdout)["Dir"])


def closed(schema, is_properties=False):
    """Without prose, and with nothing beside what is named."""
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if is_properties:
        return {name: closed(one) for name, one in schema.items()}
    if schema.get("x-kubernetes-int-or-string") or schema.get("format") == "int-or-string":
        return {"type": ["integer", "string"]}
    kept = {name: closed(one, name == "properties") for name, one in schema.items()
            if name not in PROSE and not name.startswith("x-")}
    # What Go's expressions have beyond those of JSON Schema.
    if "(?" in kept.get("pattern", ""):
        del kept["pattern"]
    if "properties" in kept and not schema.get("x-kubernetes-preserve-unknown-fields"):
        kept.setdefault("additionalProperties", False)
    return kept


def names(schema):
    """The definitions that it refers to."""
    if isinstance(schema, dict):
        if isinstance(schema.get("$ref"), str):
            yield schema["$ref"].rsplit("/", 1)[1]
        schema = schema.values()
    elif not isinstance(schema, list):
        return
    for one in schema:
        yield from names(one)


def write(version, kinds, definitions):
    lines = [f" {json.dumps(name)}: {json.dumps(definitions[name], sort_keys=True)}" for name in sorted(definitions)]
    text = '{"kinds": ' + json.dumps(kinds, sort_keys=True) + ',\n"definitions": {\n' + ",\n".join(lines) + "\n}}\n"
    (pathlib.Path(__file__).parent / f"{version}.json").write_text(text)


def kubernetes(version):
    with tempfile.TemporaryDirectory() as cache:
        document = json.loads((module("k8s.io/kubernetes", version, cache) / "api/openapi-spec/swagger.json").read_text())
    every = document["definitions"]
    kinds, wanted = {}, []
    for name, definition in every.items():
        for known in definition.get("x-kubernetes-group-version-kind", []):
            if known["kind"] in KINDS.get(known["group"], []) and known["version"] == "v1":
                kinds["/".join(filter(None, [known["group"], "v1", known["kind"]]))] = name
                wanted.append(name)
    kept = {}
    while wanted:
        name = wanted.pop()
        if name not in kept:
            kept[name] = {"type": ["number", "string"]} if name in NUMBERS_TOO else closed(every[name])
            wanted.extend(names(kept[name]))
    assert len(kinds) == sum(map(len, KINDS.values())), kinds
    write("kubernetes-" + version, kinds, kept)


def monitors():
    kinds, kept = {}, {}
    with tempfile.TemporaryDirectory() as cache:
        folder = module("github.com/prometheus-operator/prometheus-operator", OPERATOR, cache) / "example/prometheus-operator-crd"
        for plural in MONITORS:
            spec = yaml.safe_load((folder / f"monitoring.coreos.com_{plural}.yaml").read_text())["spec"]
            version = spec["versions"][0]
            name = spec["names"]["kind"]
            kept[name] = closed(version["schema"]["openAPIV3Schema"])
            # Of the API server's, not of the kind's.
            kept[name]["properties"]["metadata"] = {"type": "object"}
            kinds[f"{spec['group']}/{version['name']}/{name}"] = name
    write("prometheus-operator-" + OPERATOR, kinds, kept)


if __name__ == "__main__":
    for wanted in sys.argv[1:] or VERSIONS:
        kubernetes(wanted)
    monitors()
