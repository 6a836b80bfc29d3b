//! Somebody's HTTPRoute to a Service of real pods, and policies for it.

use anyhow::{Result, ensure};
use clew_e2e::cluster::{Client, Object};
use clew_e2e::istio::namespace;
use clew_e2e::pod::{PORT, Pod, service};
use clew_e2e::visitors::{LONG, Visitors};
use clew_e2e::wait;
use clew_e2e::ws_client::{Answer, Request};
use serde_json::{Value, json};

use crate::Scene;

/// Where objects of ours may be: those that a policy becomes, and what of them is ours.
const OURS: [&str; 3] = [
    "gateway.envoyproxy.io/v1alpha1/backendtrafficpolicies",
    "networking.istio.io/v1/destinationrules",
    "gateway.networking.k8s.io/v1/httproutes",
];
const LABEL: &str = "app.kubernetes.io%2Fmanaged-by%3Dclew";

/// An HTTPRoute, and who comes to it.
pub(super) struct Owned {
    pub(super) client: Client,
    pub(super) pods: Vec<Pod>,
    pub(super) visitors: Visitors,
    pub(super) name: &'static str,
    /// Gateway, and its namespace.
    parent: (&'static str, &'static str),
}

impl Owned {
    /// With three pods; handshakes get there, and nothing of ours is.
    pub(super) async fn new(
        all: &Scene,
        name: &'static str,
        gateway: std::net::SocketAddr,
        parent: (&'static str, &'static str),
    ) -> Result<Self> {
        let client = all.cluster.client().await?;
        client.apply(&namespace(name)).await?;
        client.apply(&service(name, "chat")).await?;
        let mut owned = Self {
            visitors: Visitors {
                gateway,
                host: format!("{name}.example.com"),
            },
            client,
            pods: Vec::new(),
            name,
            parent,
        };
        for n in 0..3 {
            owned.add_pod(n).await?;
        }
        let route = owned.http_route("chat", "", &json!([{"name": "chat", "port": PORT}]));
        owned.client.apply(&route).await?;
        owned.visitors.welcome().await?;
        Ok(owned)
    }

    async fn add_pod(&mut self, n: usize) -> Result<()> {
        let name = format!("{}-{n}", self.name);
        self.pods
            .push(Pod::start(&self.client, self.name, "chat", &name).await?);
        Ok(())
    }

    /// An HTTPRoute for WebSockets and plain HTTP on one rule; `host` is before the host of all others.
    pub(super) fn http_route(&self, name: &str, host: &str, backends: &Value) -> Value {
        json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
            "metadata": {"name": name, "namespace": self.name},
            "spec": {
                "parentRefs": [{"namespace": self.parent.0, "name": self.parent.1}],
                "hostnames": [format!("{host}{}.example.com", self.name)],
                "rules": [{
                    "name": "rooms",
                    "matches": [
                        {"path": {"type": "PathPrefix", "value": "/ws/"}},
                        {"path": {"type": "Exact", "value": "/plain"}},
                    ],
                    "backendRefs": backends,
                }],
            },
        })
    }

    /// The HTTPRoute that was there from the beginning is deleted.
    pub(super) async fn goes(&self) -> Result<()> {
        let route = self.http_route("chat", "", &json!([]));
        self.client.same(&route)?.delete().await
    }

    /// A policy by the key in the query.
    pub(super) fn policy(&self, name: &str, targets: &[&str]) -> Value {
        let target =
            |name: &&str| json!({"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": name});
        json!({
            "apiVersion": "clew.dev/v1alpha1", "kind": "WebSocketPolicy",
            "metadata": {"name": name, "namespace": self.name},
            "spec": {
                "targetRefs": targets.iter().map(target).collect::<Vec<_>>(),
                "sessionKey": {"sources": [{"type": "QueryParam", "queryParam": {"name": "room"}}]},
                "drain": {"timeout": "6s"},
            },
        })
    }

    /// Waits until a policy's condition says this of its newest text at its only ancestor; the message.
    pub(super) async fn says(&self, policy: &Value, kind: &str, reason: &str) -> Result<String> {
        let object = self.client.same(policy)?;
        let said = |live: &Value| {
            let [ancestor] = live["status"]["ancestors"].as_array()?.as_slice() else {
                return None;
            };
            let mut all = ancestor["conditions"].as_array()?.iter();
            let found = all.find(|one| one["type"] == kind && one["reason"] == reason)?;
            let is_of_now = found["observedGeneration"] == live["metadata"]["generation"];
            is_of_now.then(|| found["message"].as_str().map(str::to_owned))?
        };
        object.until(&format!("{kind}: {reason}"), said).await
    }

    /// Applies a policy with `kubectl`'s own words, and waits until every proxy has it.
    pub(super) async fn apply(&self, policy: &Value) -> Result<Object> {
        self.client.apply(policy).await?;
        let message = self.says(policy, "Programmed", "Programmed").await?;
        ensure!(message == "1 of 1 proxies", "{message}");
        self.client.same(policy)
    }

    /// How many of the first keys are not where they were the first time, of two times more.
    pub(super) async fn strays(&self, keys: usize) -> Result<(Vec<String>, usize)> {
        let first = self.visitors.place(keys).await?;
        let mut strays = 0;
        for _ in 0..2 {
            let again = self.visitors.place(keys).await?;
            strays += first.iter().zip(&again).filter(|(a, b)| a != b).count();
        }
        Ok((first, strays))
    }

    /// Waits until keys stay where they are.
    pub(super) async fn sticky(&self, keys: usize) -> Result<Vec<String>> {
        self.visitors.settled("keys stay", keys, |_| true).await
    }

    /// The status of a request's answer; 101 of a session, which ends then.
    pub(super) async fn status(&self, request: &Request) -> Result<u16> {
        Ok(self.visitors.ask(request).await?.status)
    }

    /// Plain HTTP passes whatever its Origin is, and gets no header of ours; a handshake of that Origin is refused, and nobody aims.
    pub(super) async fn plain_http_passes(&self, placed: &[String]) -> Result<()> {
        for path in ["/plain", "/ws/plain", "/ws/plain?room=7"] {
            let request = Request::new(path)
                .host(&self.visitors.host)
                .header("origin", "https://evil.example.org")
                .plain();
            let Answer::Refused(head, _) = request.send(self.visitors.gateway).await? else {
                anyhow::bail!("{path}: upgraded")
            };
            let is_ours = |name: &str| name.starts_with("x-clew") || name == "set-cookie";
            let ours = head.headers.iter().find(|(name, _)| is_ours(name));
            ensure!(head.status == 200 && ours.is_none(), "{path}: {head:?}");
        }
        let evil = self
            .visitors
            .request(0)
            .header("origin", "https://evil.example.org");
        let status = self.status(&evil).await?;
        ensure!(status == 403, "a foreign Origin opens a session: {status}");
        for pod in &self.pods {
            let aimed = self
                .visitors
                .request(1)
                .header("x-clew-host", pod.address().to_string());
            let by = self.visitors.ask(&aimed).await?.by;
            ensure!(by == placed[1], "a client aims at {}", pod.name());
        }
        Ok(())
    }

    /// Edits of a policy that are refused: one that reads tokens which nobody verifies, and one that would have keys read from elsewhere. All stays as it was, and so does who is refused.
    pub(super) async fn refused_edits_take_nothing(&self, policy: &Value, placed: &[String]) -> Result<()> {
        let room = policy["spec"]["sessionKey"]["sources"][0].clone();
        let claim = json!({"type": "JWTClaim", "jwtClaim": {"name": "sub"}});
        let cookie = json!({"type": "Cookie", "cookie": {"name": "room"}});
        for (sources, reason) in [
            (json!([room, claim]), "UnverifiedClaim"),
            (json!([cookie]), "RemapRefused"),
        ] {
            let mut edited = policy.clone();
            edited["spec"]["sessionKey"]["sources"] = sources;
            self.client.apply(&edited).await?;
            let said = self.says(policy, "Accepted", reason).await?;
            ensure!(said.contains("stays in force as it was"), "{said}");
            let after = self.visitors.place(placed.len()).await?;
            ensure!(after == placed, "{reason}: a key is elsewhere than before");
            self.plain_http_passes(placed).await?;
        }
        self.apply(policy).await.map(drop)
    }

    /// Our BackendTrafficPolicies, which carry policies on Envoy Gateway.
    pub(super) async fn carriers(&self) -> Option<Vec<Value>> {
        let path = format!(
            "/apis/gateway.envoyproxy.io/v1alpha1/namespaces/{}/backendtrafficpolicies?labelSelector={LABEL}",
            self.name
        );
        let list: Value = serde_json::from_str(&self.client.text(&path).await.ok()?).ok()?;
        list["items"].as_array().cloned()
    }

    /// Waits until nothing of ours is left there.
    pub(super) async fn nothing_is_left(&self, namespaces: &[&str]) -> Result<()> {
        for namespace in namespaces {
            for kind in OURS {
                let (api, plural) = kind.rsplit_once('/').unwrap_or_default();
                let path = format!("/apis/{api}/namespaces/{namespace}/{plural}?labelSelector={LABEL}");
                wait::until(&format!("no {plural} of ours in {namespace}"), LONG, async || {
                    // Where the kind is not there, nothing is.
                    let Ok(text) = self.client.text(&path).await else {
                        return Some(());
                    };
                    let list: Value = serde_json::from_str(&text).ok()?;
                    list["items"].as_array()?.is_empty().then_some(())
                })
                .await?;
            }
        }
        Ok(())
    }
}
