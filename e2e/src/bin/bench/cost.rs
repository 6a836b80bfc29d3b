//! What the filter costs: CPU for each upgrade and each message, memory for each idle session.

mod sessions;

use anyhow::Result;
use clew_e2e::figures::Figures;
use serde_json::{Value, json};

use self::sessions::{Bounds, Scope};

pub(crate) async fn measure(figures: &mut Figures) -> Result<()> {
    let keyed = Scope {
        suffix: "",
        what: "",
        policy: keyed(),
        bounds: Bounds {
            upgrade: 1.20,
            message: 1.05,
            idle_kib: 4.0,
        },
    };
    keyed.measure(figures).await?;
    let policies = Scope {
        suffix: ".policies",
        what: ", all policies on",
        policy: policies(),
        bounds: Bounds {
            upgrade: 1.25,
            message: 1.05,
            idle_kib: 4.0,
        },
    };
    policies.measure(figures).await
}

/// Keyed by a header.
pub(crate) fn keyed() -> Value {
    json!({"sessionKey": {"sources": [{"type": "Header", "header": {"name": "x-room"}}]}})
}

/// Everything that a session can be subject to, nothing of it ever reached.
fn policies() -> Value {
    let most = 1_000_000;
    let mut policy = keyed();
    policy["sessionPersistence"] = json!({"type": "Cookie", "cookie": {"name": "clew-session"}});
    policy["limits"] = json!({
        "maxConnectionsPerProxy": most,
        "maxConnectionsPerKeyPerProxy": most,
        "maxMessageSize": "1Mi",
        "messageRate": {"messages": most, "interval": "1s"},
        "handshakeRatePerProxy": {"requests": most, "interval": "1s"},
    });
    policy["security"] = json!({"origin": {"allowed": ["https://*.example.com"]}});
    policy["timeouts"] = json!({"idle": "1h", "maxConnectionDuration": "24h"});
    policy
}
