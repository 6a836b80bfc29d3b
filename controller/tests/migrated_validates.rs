//! What `clew migrate` writes is good as it is: `clew validate` finds nothing in it but what the original leaves out, and it becomes Envoy's configuration.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn clew(arguments: &[&str], file: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_clew"))
        .args(arguments)
        .arg(file)
        .env("NO_COLOR", "1")
        .output()
        .expect("clew runs")
}

#[test]
fn every_migrated_configuration_is_valid_and_becomes_envoys() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("core/tests/migrate");
    let mut count = 0;
    for case in fs::read_dir(cases).expect("the cases") {
        let routes = case.expect("a case").path().join("routes.yaml");
        let validated = clew(&["validate", "-f"], &routes);
        let said = String::from_utf8_lossy(&validated.stdout);
        // An Ingress does not say where its Services' endpoints are, nor does a variable of NGINX.
        let text = fs::read_to_string(&routes).expect("what it becomes");
        let is_left_out = |line: &str| {
            let label = line.split_once(" warning CLEW0307 ").and_then(|(_, why)| {
                let start = why.find("kubernetes.io/service-name: ")?;
                why.get(start..)?.split(',').next()
            });
            label.is_some_and(|label| !text.contains(label))
        };
        let is_good = said.lines().all(is_left_out);
        assert!(
            validated.status.success() && is_good,
            "{}: {said}{}",
            routes.display(),
            String::from_utf8_lossy(&validated.stderr)
        );
        let rendered = clew(&["render", "--to", "envoy", "-f"], &routes);
        assert!(
            rendered.status.success() && !rendered.stdout.is_empty(),
            "{}: {}",
            routes.display(),
            String::from_utf8_lossy(&rendered.stderr)
        );
        count += 1;
    }
    assert!(count >= 40, "{count} cases");
}

#[test]
fn the_report_goes_beside_the_manifests() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("haproxy.cfg");
    let text = "frontend a\n  mode http\n  bind :80\n  default_backend b\nbackend b\n  mode http\n  balance source\n  server s 10.0.0.1:80\n  zorkmid on\n";
    fs::write(&file, text).expect("it can be written");
    let migrated = clew(&["migrate"], &file);
    assert!(migrated.status.success());
    let (manifests, report) = (
        String::from_utf8_lossy(&migrated.stdout),
        String::from_utf8_lossy(&migrated.stderr),
    );
    assert!(manifests.contains("kind: WebSocketRoute") && !manifests.contains("zorkmid"));
    assert!(
        report.contains("haproxy.cfg:9: cannot be: zorkmid on: not understood"),
        "{report}"
    );
    let json = clew(&["migrate", "-o", "json"], &file);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!(json["manifests"], *manifests);
    assert_eq!(json["report"].as_array().map(Vec::len), Some(9));
    assert_eq!(json["report"][6]["line"], 7);
    assert_eq!(json["report"][6]["outcome"], "carried");
}

#[test]
fn what_has_no_websocket_is_said_and_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("nginx.conf");
    fs::write(&file, "server { location / { proxy_pass http://10.0.0.1; } }\n").expect("it can be written");
    let plain = clew(&["migrate"], &file);
    assert_eq!(plain.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&plain.stderr).contains("nothing here passes WebSockets on"));
    fs::write(&file, "server {\n").expect("it can be written");
    let broken = clew(&["migrate"], &file);
    assert_eq!(broken.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&broken.stderr).contains("nginx.conf:2: a block is not closed"));
}
