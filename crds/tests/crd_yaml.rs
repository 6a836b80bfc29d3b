//! The committed YAML is what the types say.

#[test]
fn the_committed_yaml_is_current() {
    let committed = include_str!("../websocketroute.yaml");
    let printed = clew_crds::crd_yaml();
    let difference = committed
        .lines()
        .zip(printed.lines())
        .zip(1..)
        .find(|((old, new), _)| old != new);
    assert!(
        committed == printed,
        "crds/websocketroute.yaml is not what the types say; run `make generate`. First difference: {difference:#?}"
    );
}
