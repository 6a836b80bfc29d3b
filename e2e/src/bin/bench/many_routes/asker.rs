//! A proxy that asks the channel for its rules, over and over, and acknowledges them.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use clew_e2e::http;
use clew_filter_config::channel::{PATH, PROTOCOL, Poll};
use serde::Deserialize;
use serde_json::Value;
use tokio::task::JoinHandle;

/// Between two questions where nobody answers.
const AGAIN: Duration = Duration::from_millis(100);

/// It asks until it is dropped.
pub(super) struct Asker {
    asking: JoinHandle<()>,
}

/// What it looks at of an answer.
#[derive(Deserialize)]
struct Answer {
    version: String,
}

impl Asker {
    /// As the module's configuration says.
    pub(super) fn start(channel: SocketAddr, config: &Value) -> Result<Self> {
        let text = |field: &str| {
            let value = config[field].as_str();
            value
                .map(str::to_owned)
                .with_context(|| format!("{field} in {config}"))
        };
        let (gateway, token) = (text("gateway")?, text("token")?);
        let asking = tokio::spawn(async move {
            let mut have = None;
            loop {
                match ask(channel, &gateway, &token, have.clone()).await {
                    Ok(Some(version)) => have = Some(version),
                    Ok(None) => {}
                    Err(_) => tokio::time::sleep(AGAIN).await,
                }
            }
        });
        Ok(Self { asking })
    }
}

impl Drop for Asker {
    fn drop(&mut self) {
        self.asking.abort();
    }
}

/// The version of the answer, where there is something newer.
async fn ask(
    channel: SocketAddr,
    gateway: &str,
    token: &str,
    have: Option<String>,
) -> Result<Option<String>> {
    let poll = Poll {
        protocol: PROTOCOL,
        gateway: gateway.to_owned(),
        proxy: "asker".to_owned(),
        have,
        wait_ms: 1000,
        ..Poll::default()
    };
    let (status, body) = http::post_as(channel, PATH, token, &serde_json::to_string(&poll)?).await?;
    match status {
        200 => Ok(Some(serde_json::from_str::<Answer>(&body)?.version)),
        204 => Ok(None),
        other => anyhow::bail!("{other} {body}"),
    }
}
