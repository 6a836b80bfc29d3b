//! The committed YAML is what the types say.

use clew_crds::{WebSocketPolicy, WebSocketRoute, crd_yaml};

#[test]
fn the_committed_yaml_is_current() {
    for (file, committed, printed) in [
        (
            "websocketroute",
            include_str!("../websocketroute.yaml"),
            crd_yaml::<WebSocketRoute>(),
        ),
        (
            "websocketpolicy",
            include_str!("../websocketpolicy.yaml"),
            crd_yaml::<WebSocketPolicy>(),
        ),
    ] {
        let difference = committed
            .lines()
            .zip(printed.lines())
            .zip(1..)
            .find(|((old, new), _)| old != new);
        assert!(
            committed == printed,
            "crds/{file}.yaml is not what the types say; run `make generate`. First difference: {difference:#?}"
        );
    }
}
