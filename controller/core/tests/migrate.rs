//! Configurations of other balancers as they stand in the world, what they become, and what is said of each of their directives. `make golden`
//! rewrites what they become, and the diff is read in review.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{env, fs};

use clew_core::migrate::{Entry, Format, Input, Migrated, Outcome, migrate};
use proptest::prelude::*;

const FILES: [(&str, Format); 3] = [
    ("nginx.conf", Format::Nginx),
    ("haproxy.cfg", Format::Haproxy),
    ("ingress.yaml", Format::Ingress),
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/migrate")
}

/// The cases: their folders, files and formats.
fn cases() -> Vec<(PathBuf, &'static str, Format)> {
    let mut cases: Vec<_> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| {
            let case = entry.unwrap().path();
            let (file, format) = FILES
                .into_iter()
                .find(|(file, _)| case.join(file).exists())
                .unwrap();
            (case, file, format)
        })
        .collect();
    cases.sort_by(|a, b| a.0.cmp(&b.0));
    cases
}

fn read(file: &str, text: &str, format: Format) -> Migrated {
    let input = Input {
        file: file.into(),
        text: text.to_owned(),
    };
    assert_eq!(Format::guess(&input), format, "{file}");
    migrate(format, &[input], true).unwrap_or_else(|refused| panic!("{refused}\n{text}"))
}

#[test]
fn every_case_becomes_what_it_became() {
    let rewrite = env::var("CLEW_GOLDEN").is_ok_and(|value| value == "rewrite");
    let mut different = Vec::new();
    let cases = cases();
    for (case, file, format) in &cases {
        let migrated = read(file, &fs::read_to_string(case.join(file)).unwrap(), *format);
        let report: String = migrated.report.iter().map(|entry| format!("{entry}\n")).collect();
        for (name, text) in [("routes.yaml", &migrated.manifests), ("report.txt", &report)] {
            let path = case.join(name);
            if rewrite {
                fs::write(&path, text).unwrap();
            } else if fs::read_to_string(&path).unwrap_or_default() != *text {
                different.push(path);
            }
        }
    }
    assert!(cases.len() >= 40, "{} cases", cases.len());
    assert!(
        different.is_empty(),
        "not as it was (make golden, and read the diff): {different:#?}"
    );
}

/// Every line with a word on it is in the report: what closes a block, and what a block of code holds, is no directive.
#[test]
fn no_line_is_passed_over() {
    for (case, file, format) in cases() {
        if format == Format::Ingress {
            continue;
        }
        let text = fs::read_to_string(case.join(file)).unwrap();
        let lines: BTreeSet<u32> = read(file, &text, format)
            .report
            .iter()
            .map(|entry| entry.line)
            .collect();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if !line.is_empty() && !line.starts_with(['#', '}']) {
                assert!(lines.contains(&number), "{}:{number}: {line}", case.display());
            }
        }
    }
}

/// Whatever is put among the directives of a case, it is named; in blocks that carry no WebSocket as what it is.
#[test]
fn what_nobody_knows_is_named() {
    for (case, file, format) in cases() {
        let text = fs::read_to_string(case.join(file)).unwrap();
        let text = match format {
            Format::Nginx => text.replace("proxy_pass ", "zorkmid on; proxy_pass "),
            Format::Haproxy => text.replace("    server ", "    zorkmid on\n    server "),
            Format::Ingress => text.replace(
                "annotations:\n",
                "annotations:\n      nginx.ingress.kubernetes.io/zorkmid: \"on\"\n",
            ),
        };
        // An inserted annotation may not be as deep as its neighbours.
        let Ok(migrated) = migrate(
            format,
            &[Input {
                file: file.into(),
                text: text.clone(),
            }],
            true,
        ) else {
            continue;
        };
        let named = |entry: &&Entry| entry.directive.contains("zorkmid");
        let count = migrated.report.iter().filter(named).count();
        assert_eq!(count, text.matches("zorkmid").count(), "{}", case.display());
        if !migrated.manifests.is_empty() {
            assert!(
                migrated
                    .report
                    .iter()
                    .filter(named)
                    .any(|entry| entry.outcome == Outcome::Cannot),
                "{}",
                case.display()
            );
        }
    }
}

/// What a guide shows is what comes out, without the comments at its top.
#[test]
fn the_guides_show_what_comes_out() {
    for (guide, file, format) in [
        ("nginx", "nginx.conf", Format::Nginx),
        ("haproxy", "haproxy.cfg", Format::Haproxy),
    ] {
        let path = format!("../../docs/guide/coming-from-{guide}.md");
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
        let block = |language: &str| {
            let rest = text.split_once(&format!("```{language}\n")).unwrap().1;
            rest.split_once("```").unwrap().0.to_owned()
        };
        let lines = read(file, &block(guide), format).manifests;
        let shown: String = lines
            .split_inclusive('\n')
            .filter(|line| !line.starts_with('#'))
            .collect();
        assert_eq!(block("yaml"), shown, "{guide}");
    }
}

/// Pieces of real configurations, in any order.
fn pieces(format: Format) -> impl Strategy<Value = String> {
    let words: Vec<String> = cases()
        .into_iter()
        .filter(|(.., other)| *other == format)
        .flat_map(|(case, file, _)| {
            let text = fs::read_to_string(case.join(file)).unwrap();
            text.split_inclusive([' ', '\n', ';', '{', '}'])
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .collect();
    let any = prop_oneof![
        9 => proptest::sample::select(words),
        1 => "[ -~\\n]{0,6}",
        1 => "\\PC{0,3}",
    ];
    proptest::collection::vec(any, 0..120).prop_map(|pieces| pieces.concat())
}

/// The same text again and again, with a piece of it lost, doubled or moved: most of it still reads.
fn mutations(format: Format) -> impl Strategy<Value = String> {
    let texts: Vec<String> = cases()
        .into_iter()
        .filter(|(.., other)| *other == format)
        .map(|(case, file, _)| fs::read_to_string(case.join(file)).unwrap())
        .collect();
    (
        proptest::sample::select(texts),
        proptest::collection::vec((0..6_u8, any::<usize>(), any::<usize>()), 1..8),
    )
        .prop_map(|(text, edits)| {
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            for (what, a, b) in edits {
                let (a, b) = (a % lines.len(), b % lines.len());
                let mut words: Vec<String> = lines[a].split(' ').map(str::to_owned).collect();
                let word = b % words.len();
                match what {
                    0 => lines.swap(a, b),
                    1 => lines[a] = lines[b].clone(),
                    2 => lines[a].clear(),
                    3 => words[word] = "%$é\"'\\".to_owned(),
                    4 => words[word].clear(),
                    _ => words[word] = "99999999999".to_owned(),
                }
                if what > 2 {
                    lines[a] = words.join(" ");
                }
            }
            lines.join("\n")
        })
}

fn survives(format: Format, text: &str) {
    for stand_alone in [false, true] {
        let input = Input {
            file: "input".into(),
            text: text.to_owned(),
        };
        if let Ok(migrated) = migrate(format, &[input], stand_alone) {
            // What is written is YAML, and routes are such as the API server takes.
            for document in migrated
                .manifests
                .split("\n---\n")
                .filter(|text| !text.trim().is_empty())
            {
                let value: serde_json::Value = serde_saphyr::from_str(document)
                    .unwrap_or_else(|error| panic!("{error}\n{text}\n\n{document}"));
                if value["kind"] == "WebSocketRoute" {
                    clew_crds::admission::admit::<clew_crds::WebSocketRoute>(value)
                        .unwrap_or_else(|violations| panic!("{violations:?}\n{text}\n\n{document}"));
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn any_nginx_conf_is_read_or_refused(text in pieces(Format::Nginx)) {
        survives(Format::Nginx, &text);
    }

    #[test]
    fn any_haproxy_cfg_is_read_or_refused(text in pieces(Format::Haproxy)) {
        survives(Format::Haproxy, &text);
    }

    #[test]
    fn a_changed_nginx_conf_becomes_what_the_api_takes(text in mutations(Format::Nginx)) {
        survives(Format::Nginx, &text);
    }

    #[test]
    fn a_changed_haproxy_cfg_becomes_what_the_api_takes(text in mutations(Format::Haproxy)) {
        survives(Format::Haproxy, &text);
    }

    #[test]
    fn a_changed_ingress_becomes_what_the_api_takes(text in mutations(Format::Ingress)) {
        survives(Format::Ingress, &text);
    }
}
