//! Envoy Gateway, before a cluster's API server, and the Envoy of one of its Gateways. Where no kubelet runs, the pod of the Deployment that it
//! writes is started here.

use std::fs::File;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service};
use kube::Api;
use kube::api::ListParams;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::address;
use crate::cluster::{Client, Cluster, START, part};
use crate::daemon::Daemon;
use crate::envoy::{self, Admin};
use crate::http;
use crate::istio::namespace;
use crate::pod::{Registrant, Registration, any_spec};

/// Where it is, and every Deployment that it writes.
pub const NAMESPACE: &str = "envoy-gateway-system";
const HOST: &str = "envoy-gateway.envoy-gateway-system.svc.cluster.local";
/// The class of its Gateways.
pub const CLASS: &str = "envoy-gateway";
/// Whose classes it serves.
pub const CONTROLLER: &str = "gateway.envoyproxy.io/gatewayclass-controller";
/// An annotation that the pods of every Gateway have, and the level of their logs.
pub const FOR_ALL: (&str, &str) = ("example.com/for-all", "error");
/// The port of the Gateways. Its Envoys listen on ports below 1024 ten thousand higher.
pub const PORT: u16 = 80;

const READY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8081);
/// Of the admin port, 19000, and those beside it: so much higher for the first Envoy, and ten more for each after it.
const HIGHER: u16 = 100;
/// Where it looks for its certificates.
const CERTIFICATES: &str = "/certs";

/// Installs its kinds.
///
/// # Errors
/// When the API server refuses one.
pub async fn kinds(cluster: &Cluster) -> Result<()> {
    let kinds = part("envoy-gateway-crds")?;
    let apply = ["apply", "--server-side", "--filename"].map(Into::into);
    let applied = cluster.kubectl(apply.into_iter().chain([kinds.into_os_string()]));
    applied.await?.success().map(drop)
}

/// Envoy Gateway, killed when dropped.
#[derive(Debug)]
pub struct EnvoyGateway {
    server: Daemon,
    proxies: u16,
}

impl EnvoyGateway {
    /// Installs its kinds and its class, starts it, and waits until it is ready.
    ///
    /// # Errors
    /// When it does not become ready.
    pub async fn start(cluster: &Cluster) -> Result<Self> {
        kinds(cluster).await?;
        let client = cluster.client().await?;
        client.apply(&namespace(NAMESPACE)).await?;
        client.apply(&class()).await?;
        let made = program(cluster)?
            .args(["certgen", "--disable-topology-injector"])
            .output()?;
        ensure!(
            made.status.success(),
            "no certificates: {}",
            String::from_utf8_lossy(&made.stderr)
        );
        let secret: Secret = get(&client, "envoy-gateway").await?;
        keep(&secret, Path::new(CERTIFICATES))?;
        let config = cluster.folder().join("envoy-gateway.yaml");
        std::fs::write(&config, configuration().to_string())?;
        let mut hosts = File::options().append(true).open("/etc/hosts")?;
        // Where Envoys get their configuration and modules.
        writeln!(hosts, "{} {HOST}", Ipv4Addr::LOCALHOST)?;
        let mut command = program(cluster)?;
        command.args(["server", "--config-path"]).arg(&config);
        let mut server = Daemon::start("envoy-gateway", &mut command, cluster.folder())?;
        server
            .until("ready", START, async || http::get(READY, "/readyz").await.ok())
            .await?;
        Ok(Self { server, proxies: 0 })
    }

    /// Starts the pod of a Gateway's Deployment with two workers, as soon as there is one, and waits until Envoy has listeners.
    ///
    /// # Errors
    /// When there is no Deployment, or Envoy does not become ready.
    pub async fn proxy(&mut self, client: &Client, namespace: &str, gateway: &str) -> Result<Proxy> {
        self.proxy_on(client, namespace, gateway, PORT, "").await
    }

    /// The same for a Gateway on another port, as soon as its bootstrap has this in it.
    ///
    /// # Errors
    /// When there is no such Deployment, or Envoy does not become ready.
    pub async fn proxy_on(
        &mut self,
        client: &Client,
        namespace: &str,
        gateway: &str,
        port: u16,
        holds: &str,
    ) -> Result<Proxy> {
        let deployment = self.deployment(client, namespace, gateway, holds).await?;
        let name = deployment.metadata.name.context("a name")?;
        let template = deployment.spec.map(|spec| spec.template).unwrap_or_default();
        let labels = template.metadata.and_then(|metadata| metadata.labels);
        let containers = template.spec.map(|spec| spec.containers).unwrap_or_default();
        let container = containers.into_iter().find(|container| container.name == "envoy");
        let arguments = container.and_then(|container| container.args).unwrap_or_default();
        let higher = HIGHER + 10 * self.proxies;
        self.proxies += 1;
        let address = SocketAddr::from((address::CLUSTER, listening(port)));
        Proxy::start(client, &name, arguments, address, higher, json!(labels)).await
    }

    /// The Deployment of a Gateway, as soon as it has this in it.
    ///
    /// # Errors
    /// When there is no such Deployment.
    pub async fn deployment(
        &mut self,
        client: &Client,
        namespace: &str,
        gateway: &str,
        holds: &str,
    ) -> Result<Deployment> {
        let deployments: Api<Deployment> = Api::namespaced(client.kube(), NAMESPACE);
        let of = ListParams::default().labels(&owned_by(namespace, gateway));
        let find = async || {
            let found = deployments.list(&of).await.ok()?.items.into_iter().next()?;
            json!(found).to_string().contains(holds).then_some(found)
        };
        let what = format!("a Deployment for Gateway {namespace}/{gateway} with {holds}");
        self.server.until(&what, START, find).await
    }

    /// Gives the Service of a Gateway an address, as a load balancer's controller does; the Gateway says it then.
    ///
    /// # Errors
    /// When there is no Service.
    pub async fn balance(&mut self, client: &Client, namespace: &str, gateway: &str) -> Result<()> {
        let services: Api<Service> = Api::namespaced(client.kube(), NAMESPACE);
        let of = ListParams::default().labels(&owned_by(namespace, gateway));
        let find = async || services.list(&of).await.ok()?.items.into_iter().next();
        let what = format!("a Service for Gateway {namespace}/{gateway}");
        let service = self.server.until(&what, START, find).await?;
        let status = json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": service.metadata.name, "namespace": NAMESPACE},
            "status": {"loadBalancer": {"ingress": [{"ip": address::CLUSTER}]}},
        });
        client.apply_status(&status).await
    }

    /// Everything that it wrote.
    pub fn log(&self) -> String {
        self.server.log()
    }
}

/// The Envoy of a Gateway, killed when dropped.
#[derive(Debug)]
pub struct Proxy {
    /// Where sessions enter.
    pub address: SocketAddr,
    /// Its admin port.
    pub admin: Admin,
    envoy: Daemon,
    _pod: Registration,
    _folder: TempDir,
}

impl Proxy {
    async fn start(
        client: &Client,
        deployment: &str,
        arguments: Vec<String>,
        address: SocketAddr,
        higher: u16,
        labels: Value,
    ) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("clew-eg-proxy-").tempdir()?;
        let path = folder.path();
        let (certificates, sds) = (path.join("certs"), path.join("sds"));
        std::fs::create_dir(&sds)?;
        let moved = |text: &str| {
            text.replace("/sds/", &format!("{}/", sds.display()))
                .replace("/certs/", &format!("{}/", certificates.display()))
        };
        keep(&get::<Secret>(client, "envoy").await?, &certificates)?;
        let files: ConfigMap = get(client, deployment).await?;
        for (name, text) in files.data.unwrap_or_default() {
            std::fs::write(sds.join(name), moved(&text))?;
        }
        // What the kubelet and the cluster's DNS would fill in, and ports beside those that Envoy Gateway has on the same machine here.
        let arguments = arguments.iter().map(|argument| {
            moved(argument)
                .replace("$(ENVOY_POD_NAME)", &format!("{deployment}-0"))
                .replace("$(ENVOY_SERVICE_ZONE)", "")
                .replace(&format!("{HOST}."), &Ipv4Addr::LOCALHOST.to_string())
        });
        let arguments = arguments.map(|argument| {
            (19_000..19_004).fold(argument, |argument, known| {
                let (known, moved) = (
                    format!("port_value: {known}"),
                    format!("port_value: {}", known + higher),
                );
                argument.replace(&known, &moved)
            })
        });
        let mut command = Command::new(envoy::find()?);
        command
            .args(arguments)
            .args(["--concurrency", "2", "--use-dynamic-base-id"])
            .current_dir(path);
        let mut envoy = Daemon::start("envoy", &mut command, path)?;
        let admin = Admin {
            address: (Ipv4Addr::LOCALHOST, 19_000 + higher).into(),
        };
        envoy
            .until("ready", START, async || admin.get("/ready").await.ok())
            .await?;
        let registrant = Registrant {
            client: client.clone(),
            namespace: NAMESPACE.to_owned(),
            service: deployment.to_owned(),
            name: format!("{deployment}-0"),
            labels,
            spec: any_spec(),
            port: "http",
            address,
        };
        Ok(Self {
            address,
            admin,
            envoy,
            _pod: Registration::new(registrant).await?,
            _folder: folder,
        })
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.envoy.pid()
    }

    /// Everything that it wrote.
    pub fn log(&self) -> String {
        self.envoy.log()
    }
}

/// Where the Envoy of a Gateway of this port listens: no process may need a right to ports below 1024.
fn listening(port: u16) -> u16 {
    if port < 1024 { port + 10_000 } else { port }
}

/// The labels of what Envoy Gateway makes for a Gateway.
fn owned_by(namespace: &str, gateway: &str) -> String {
    format!(
        "gateway.envoyproxy.io/owning-gateway-namespace={namespace},gateway.envoyproxy.io/owning-gateway-name={gateway}"
    )
}

/// A Gateway of its class, for every hostname.
pub fn gateway(namespace: &str, name: &str) -> Value {
    gateway_on(namespace, name, PORT)
}

/// The same on another port.
pub fn gateway_on(namespace: &str, name: &str, port: u16) -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "gatewayClassName": CLASS,
            "listeners": [{
                "name": "http",
                "port": port,
                "protocol": "HTTP",
                "allowedRoutes": {"namespaces": {"from": "All"}},
            }],
        },
    })
}

/// Its class.
pub fn class() -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "GatewayClass",
        "metadata": {"name": CLASS},
        "spec": {"controllerName": CONTROLLER},
    })
}

fn configuration() -> Value {
    json!({
        "apiVersion": "gateway.envoyproxy.io/v1alpha1",
        "kind": "EnvoyGateway",
        "gateway": {"controllerName": CONTROLLER},
        "provider": {
            "type": "Kubernetes",
            "kubernetes": {"leaderElection": {"disable": true}},
        },
        "logging": {"level": {"default": "info"}},
        // For the Gateways that say nothing else.
        "envoyProxy": {
            "logging": {"level": {"default": FOR_ALL.1}},
            "provider": {
                "type": "Kubernetes",
                "kubernetes": {"envoyDeployment": {"pod": {"annotations": {FOR_ALL.0: "yes"}}}},
            },
        },
    })
}

fn program(cluster: &Cluster) -> Result<Command> {
    let mut command = Command::new(part("envoy-gateway")?);
    command
        .env("KUBECONFIG", cluster.kubeconfig())
        .env("ENVOY_GATEWAY_NAMESPACE", NAMESPACE)
        .current_dir(cluster.folder());
    Ok(command)
}

async fn get<K>(client: &Client, name: &str) -> Result<K>
where
    K: kube::Resource<Scope = kube::core::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned,
    K::DynamicType: Default,
{
    Ok(Api::namespaced(client.kube(), NAMESPACE).get(name).await?)
}

/// A Secret as a pod has it.
fn keep(secret: &Secret, folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    for (name, bytes) in secret.data.iter().flatten() {
        std::fs::write(folder.join(name), &bytes.0)?;
    }
    Ok(())
}
