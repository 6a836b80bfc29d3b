//! Bundles of Gateway API's kinds: a cluster has the one that somebody installed.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use clew_e2e::cluster::{Client, Cluster, part};
use clew_e2e::istio::namespace;
use serde_json::{Value, json};

use super::{SHOP, gateway, route};

/// From the oldest to the newest, as the parts of a cluster are named, and what each says that it is.
const BUNDLES: [(&str, &str); 3] = [
    ("gateway-api-1.4", "v1.4."),
    ("gateway-api-1.5", "v1.5."),
    ("gateway-api", "v1.6."),
];

/// Where nothing else has the names of what is rendered.
const APART: &str = "bundles";

/// The oldest, which the cluster has first.
pub(super) const OLDEST: &str = BUNDLES[0].0;

/// Each takes all that Clew renders, and under a controller that runs each takes the place of the one before.
pub(super) async fn each_takes_what_is_rendered(cluster: &Cluster, client: &Client) -> Result<usize> {
    let rendered = rendered()?;
    client.apply(&namespace(APART)).await?;
    for (bundle, version) in BUNDLES {
        cluster.install(&[part(bundle)?]).await?;
        let kind = client.object(
            "apiextensions.k8s.io/v1",
            "CustomResourceDefinition",
            "",
            "httproutes.gateway.networking.k8s.io",
        );
        let is_this = |live: &Value| {
            let said = &live["metadata"]["annotations"]["gateway.networking.k8s.io/bundle-version"];
            said.as_str()?.starts_with(version).then_some(())
        };
        kind.until(bundle, is_this).await?;
        for object in &rendered {
            let refusals = client.dry_run(object).await?.err();
            ensure!(refusals.is_none(), "{bundle}: {refusals:?} for {object:#}");
        }
        let name = bundle.replace('.', "-");
        let on = format!("{name}-edge");
        let mut edge = gateway(SHOP);
        edge["metadata"]["name"] = json!(on);
        client.apply(&edge).await?;
        let mut judged = route(&name);
        judged["spec"]["parentRefs"] = json!([{"name": on}]);
        client.apply(&judged).await?;
        let is_accepted = |live: &Value| {
            let all = live["status"]["parents"][0]["conditions"].as_array()?;
            let holds = |wanted: &str| {
                all.iter()
                    .any(|one| one["type"] == wanted && one["status"] == "True")
            };
            (holds("Accepted") && holds("ResolvedRefs")).then_some(())
        };
        client.same(&judged)?.until(bundle, is_accepted).await?;
    }
    Ok(rendered.len())
}

/// Every object of Gateway API's kinds that is rendered in the golden folders, in one namespace.
fn rendered() -> Result<Vec<Value>> {
    let folders = Path::new(env!("CARGO_MANIFEST_DIR")).join("../controller/core/tests/golden");
    let mut found = Vec::new();
    for folder in std::fs::read_dir(folders)? {
        for file in ["gateway-api.yaml", "istio.yaml"] {
            let Ok(text) =
                std::fs::read_to_string(folder.as_ref().ok().context("a folder")?.path().join(file))
            else {
                continue;
            };
            let objects: Vec<Value> = serde_saphyr::from_str(&text)?;
            found.extend(objects.into_iter().filter(|object| {
                let group = object["apiVersion"].as_str().unwrap_or_default();
                group.starts_with("gateway.networking.k8s.io/")
            }));
        }
    }
    for object in &mut found {
        object["metadata"]["namespace"] = json!(APART);
    }
    Ok(found)
}
