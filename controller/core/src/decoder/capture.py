#!/usr/bin/env python3
"""Writes captured.json: which host a real Envoy's Maglev sends each header value to.

    capture.py ENVOY > captured.json

Every "host" is a listener of the same Envoy, on addresses of 127.0.0.0/8, that answers with its own address.
"""

import http.client
import json
import subprocess
import sys
import tempfile
import time

ADMIN, FRONT = 19901, 19900


def host_sets():
    """(table size, hosts): the sizes of small, odd and large services, and tables in which first wishes collide."""
    yield 65537, [f"127.1.0.{n}:{19100 + n}" for n in range(1, 4)]
    yield 65537, [f"127.2.{n}.9:19100" for n in range(1, 11)]
    yield 65537, [f"127.3.{n // 200}.{n % 200 + 1}:19200" for n in range(600)]
    yield 127, [f"127.4.0.{n}:19300" for n in range(1, 60)]
    yield 1009, [f"127.5.0.{n}:{19400 + n % 3}" for n in range(1, 200)]


def socket(address):
    ip, port = address.rsplit(":", 1)
    return {"socket_address": {"address": ip, "port_value": int(port)}}


def hcm(prefix, routes):
    return [{"filters": [{"name": "hcm", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": prefix,
        "route_config": {"virtual_hosts": [{"name": "v", "domains": ["*"], "routes": routes}]},
        "http_filters": [{"name": "router", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}]}}]}]


def bootstrap(sets):
    backends = sorted({host for _, hosts in sets for host in hosts})
    return {
        "admin": {"address": socket(f"127.0.0.1:{ADMIN}")},
        "static_resources": {
            "listeners": [
                {"name": host, "address": socket(host), "filter_chains": hcm("b", [
                    {"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": host}}}])}
                for host in backends
            ] + [{"name": "front", "address": socket(f"127.0.0.1:{FRONT}"), "filter_chains": hcm("f", [
                {"match": {"path": f"/{i}"}, "route": {
                    "cluster": f"c{i}", "hash_policy": [{"header": {"header_name": "x-clew-host"}}]}}
                for i in range(len(sets))])}],
            "clusters": [
                {"name": f"c{i}", "lb_policy": "MAGLEV", "maglev_lb_config": {"table_size": size},
                 "load_assignment": {"cluster_name": f"c{i}", "endpoints": [
                     {"lb_endpoints": [{"endpoint": {"address": socket(host)}} for host in hosts]}]}}
                for i, (size, hosts) in enumerate(sets)
            ],
        },
    }


def look_up(path, values):
    connection = http.client.HTTPConnection("127.0.0.1", FRONT)
    for value in values:
        connection.request("GET", path, headers={"x-clew-host": value})
        yield value, connection.getresponse().read().decode()


def main():
    sets = list(host_sets())
    with tempfile.NamedTemporaryFile("w", suffix=".json") as config:
        json.dump(bootstrap(sets), config)
        config.flush()
        envoy = subprocess.Popen([sys.argv[1], "-c", config.name, "--concurrency", "1", "--log-level", "error",
                                  "--use-dynamic-base-id"], stdout=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + 30
            while True:
                try:
                    connection = http.client.HTTPConnection("127.0.0.1", ADMIN)
                    connection.request("GET", "/server_info")
                    info = json.load(connection.getresponse())
                    if info["state"] == "LIVE":
                        break
                except OSError:
                    pass
                if time.monotonic() > deadline:
                    sys.exit("Envoy did not become ready in 30 s")
                time.sleep(0.05)
            captured = [
                {"envoy": info["version"].split("/")[1], "table_size": size, "hosts": hosts,
                 "looked_up": dict(look_up(f"/{i}", hosts + [f"key-{n}" for n in range(400)]))}
                for i, (size, hosts) in enumerate(sets)
            ]
        finally:
            envoy.terminate()
            envoy.wait()
    print("[" + ",\n".join(json.dumps(case, separators=(",", ":")) for case in captured) + "]")


if __name__ == "__main__":
    main()
