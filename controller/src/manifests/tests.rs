use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::{Births, Manifests};

const ROUTE: &str = "apiVersion: clew.dev/v1alpha1
kind: WebSocketRoute
metadata: {name: chat, namespace: shop}
spec:
  parentRefs: [{name: edge}]
  rules:
  - matches:
    - path: {value: /ws}
    backendRefs: [{name: chat, port: 8080}]
";

const SERVICE: &str =
    "apiVersion: v1\nkind: Service\nmetadata: {name: chat}\nspec: {ports: [{port: 8080}]}\n";

struct Folder {
    folder: tempfile::TempDir,
    manifests: Manifests,
}

impl Folder {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let manifests = Manifests::new(vec![folder.path().to_owned()], Births::default());
        Self { folder, manifests }
    }

    /// Reads the folder after `name` was saved as editors do it: a new file in the place of the old one.
    fn save(&mut self, name: &str, text: &str) -> &mut Manifests {
        let new = self.folder.path().join(".new");
        fs::write(&new, text).unwrap();
        fs::rename(new, self.folder.path().join(name)).unwrap();
        self.manifests.refresh_at(1);
        &mut self.manifests
    }

    fn findings(&self) -> Vec<String> {
        let folder = format!("{}/", self.folder.path().display());
        self.manifests
            .findings()
            .iter()
            .map(|finding| finding.to_string().replace(&folder, ""))
            .collect()
    }
}

#[test]
fn objects_of_every_kind_are_read() {
    let mut folder = Folder::new();
    let text = format!(
        "{ROUTE}---\n{SERVICE}---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: edge}}
spec: {{gatewayClassName: clew, listeners: [{{name: http, port: 80, protocol: HTTP}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: chat-1}}
addressType: IPv4
endpoints: []
---
apiVersion: v1
kind: Secret
metadata: {{name: keys}}
stringData: {{a: b}}
"
    );
    let objects = folder.save("all.yaml", &text).objects();
    assert_eq!(folder.findings(), [""; 0]);
    assert_eq!(
        [
            objects.routes.len(),
            objects.gateways.len(),
            objects.services.len(),
            objects.endpoint_slices.len(),
            objects.secrets.len()
        ],
        [1; 5]
    );
    assert_eq!(
        objects.services[0].object.metadata.namespace.as_deref(),
        Some("default")
    );
    assert_eq!(objects.services[0].source.line, 11);
    assert!(objects.routes[0].object.metadata.creation_timestamp.is_some());
}

#[test]
fn a_list_is_its_items() {
    let mut folder = Folder::new();
    let text = r#"{"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {}},
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "b"}, "spec": {"ports": 7}}]}"#;
    folder.save("list.json", text);
    let [finding] = &folder.findings()[..] else {
        panic!("{:?}", folder.findings())
    };
    assert!(
        finding.starts_with("list.json:3: error CLEW0003 Service default/b items[1].spec.ports"),
        "{finding}"
    );
}

#[test]
fn a_broken_file_keeps_what_it_last_said() {
    let mut folder = Folder::new();
    folder.save("a.yaml", ROUTE);
    folder.save("b.yaml", SERVICE);
    let objects = folder
        .save("a.yaml", &ROUTE.replace("rules:", "rules: ["))
        .objects();
    assert_eq!((objects.routes.len(), objects.services.len()), (1, 1));
    let [finding] = &folder.findings()[..] else {
        panic!("{:?}", folder.findings())
    };
    assert!(finding.contains("error CLEW0001: not YAML"), "{finding}");
    folder.save("a.yaml", ROUTE);
    assert_eq!(folder.findings(), [""; 0]);
}

#[test]
fn an_unknown_field_is_refused_with_its_line_and_a_suggestion() {
    let mut folder = Folder::new();
    folder.save(
        "a.yaml",
        &ROUTE.replace("    backendRefs:", "    sessionKeys: {}\n    backendRefs:"),
    );
    let [finding] = &folder.findings()[..] else {
        panic!("{:?}", folder.findings())
    };
    assert!(
        finding.starts_with("a.yaml:9: error CLEW0011 WebSocketRoute shop/chat spec.rules[0].sessionKeys: "),
        "{finding}"
    );
    assert!(finding.contains("sessionKey"), "{finding}");
}

#[test]
fn a_file_that_is_gone_takes_its_objects_along() {
    let mut folder = Folder::new();
    folder.save("a.yaml", ROUTE);
    fs::remove_file(folder.folder.path().join("a.yaml")).unwrap();
    assert!(folder.manifests.refresh());
    assert_eq!(folder.manifests.objects().routes.len(), 0);
}

#[test]
fn a_file_that_is_being_written_is_not_a_removal() {
    let mut folder = Folder::new();
    folder.save("a.yaml", ROUTE);
    assert_eq!(folder.save("a.yaml", "").objects().routes.len(), 1);
    assert!(
        folder.findings()[0].contains("CLEW0007"),
        "{:?}",
        folder.findings()
    );
}

#[test]
fn only_what_changed_is_read_again() {
    let mut folder = Folder::new();
    folder.save("a.yaml", ROUTE);
    let settled = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1);
    let file = fs::File::options()
        .write(true)
        .open(folder.folder.path().join("a.yaml"))
        .unwrap();
    file.set_modified(settled).unwrap();
    assert!(folder.manifests.refresh());
    assert!(!folder.manifests.refresh());
}

#[test]
fn a_kind_that_means_nothing_here_is_one_warning() {
    let mut folder = Folder::new();
    let other = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\n";
    folder.save("a.yaml", &format!("{other}---\n{other}"));
    folder.save("b.yaml", other);
    let [finding] = &folder.findings()[..] else {
        panic!("{:?}", folder.findings())
    };
    assert!(
        finding.starts_with("a.yaml:2: warning CLEW0004 Deployment"),
        "{finding}"
    );
}

#[test]
fn a_kind_of_ours_that_there_is_not_is_refused() {
    let mut folder = Folder::new();
    folder.save(
        "a.yaml",
        "apiVersion: clew.dev/v1alpha1\nkind: WebsocketRoute\nmetadata: {name: a}\n",
    );
    let [finding] = &folder.findings()[..] else {
        panic!("{:?}", folder.findings())
    };
    assert!(
        finding.starts_with("a.yaml:2: error CLEW0014 WebsocketRoute default/a")
            && finding.contains("write WebSocketRoute"),
        "{finding}"
    );
}

#[test]
fn what_is_no_object_is_refused() {
    for (text, part) in [
        ("just text", "not a Kubernetes object"),
        ("kind: Service\nmetadata: {name: a}", "apiVersion: is required"),
        ("apiVersion: v1\nkind: Service", "metadata: is required"),
        (
            "apiVersion: v1\nkind: Service\nmetadata: {name: 7}",
            "metadata.name: is required",
        ),
    ] {
        let mut folder = Folder::new();
        folder.save("a.yaml", text);
        let [finding] = &folder.findings()[..] else {
            panic!("{:?}", folder.findings())
        };
        assert!(
            finding.contains("CLEW0002") && finding.contains(part),
            "{finding}"
        );
    }
}

#[test]
fn a_missing_path_is_said_and_changes_nothing() {
    let manifests = Manifests::once(vec![Path::new("/nonexistent/x").to_owned()]);
    assert!(
        manifests.findings()[0]
            .to_string()
            .starts_with("/nonexistent/x: error CLEW0006")
    );
}

#[test]
fn a_field_is_found_in_the_file_of_its_object() {
    let mut folder = Folder::new();
    folder.save("a.yaml", &format!("{SERVICE}---\n{ROUTE}"));
    let file = folder.folder.path().join("a.yaml").display().to_string();
    assert_eq!(
        super::Lines::default().of(&file, 6, "spec.rules[0].backendRefs[0].name"),
        14
    );
    assert_eq!(super::Lines::default().of(&file, 1, "spec.ports[0]"), 4);
}

#[test]
fn a_file_that_is_broken_when_another_begins_says_what_it_last_said() {
    let (kept, mut folder) = (tempfile::tempdir().unwrap(), Folder::new());
    let begin = |folder: &Folder| {
        let paths = vec![folder.folder.path().to_owned()];
        let mut manifests = Manifests::new(paths, Births::default()).keeping(kept.path().join("copies"));
        manifests.refresh_at(1);
        manifests
    };
    folder.save("a.yaml", ROUTE);
    folder.save("b.yaml", SERVICE);
    folder.save("c.yaml", SERVICE);
    begin(&folder);
    for (name, text) in [("a.yaml", "{"), ("b.yaml", "")] {
        folder.save(name, text);
    }
    fs::remove_file(folder.folder.path().join("c.yaml")).unwrap();
    let second = begin(&folder);
    let objects = second.objects();
    assert_eq!((objects.routes.len(), objects.services.len()), (1, 1));
    assert_eq!(second.findings().len(), 2, "both are said");
    // What was removed in between is forgotten, and what never was good says nothing.
    folder.save("c.yaml", "{");
    folder.save("d.yaml", "");
    let third = begin(&folder);
    assert_eq!((third.objects().services.len(), third.findings().len()), (1, 3));
    // Copies are for nobody else: there are Secrets among them.
    for copy in fs::read_dir(kept.path().join("copies")).unwrap() {
        let mode = copy.unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
