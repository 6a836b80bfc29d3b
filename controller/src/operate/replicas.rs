//! Asking all replicas of the controller, each through the API server's proxy to its pod, with a token that the API server makes
//! for this purpose: for nobody but Clew, and of an account that may do nothing.

use std::time::{Duration, Instant};

use clew_core::model::ObjectName;
use futures_util::future::join_all;
use http::Request;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Client;
use kube::api::{Api, ListParams, ObjectMeta, PostParams};
use serde::Serialize;

use crate::channel::view::{GatewayView, ReplicaView, merged};
use crate::clock;
use crate::cluster::operators::{AUDIENCE, GATEWAYS, READER, RIGHTS, TOKEN};
use crate::failure::{Failure, refused};

/// As long as the API server lets a token live at the least.
const LIFETIME_SECONDS: i64 = 600;
/// So old, another is asked for.
const RENEWAL: Duration = Duration::from_secs(300);
/// A replica that takes longer is named.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where the controller is.
#[derive(Clone, Debug)]
pub(crate) struct Controller {
    /// Its Service.
    pub(crate) service: ObjectName,
    /// And the port of that, where it has several.
    pub(crate) port: u16,
}

/// A controller that can be asked.
pub(crate) struct Replicas {
    client: Client,
    controller: Controller,
    token: String,
    /// What they are asked for.
    what: String,
}

/// What the replicas said.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    pub(crate) replicas: Vec<ReplicaView>,
    pub(crate) silent: Vec<Silent>,
}

/// A replica that said nothing.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Silent {
    /// Its pod.
    pub(crate) replica: String,
    pub(crate) why: String,
}

impl Controller {
    /// Gets a token.
    ///
    /// # Errors
    /// When the API server makes none.
    pub(crate) async fn open(&self, client: &Client) -> Result<Replicas, Failure> {
        let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), &self.service.namespace);
        let wanted = TokenRequest {
            metadata: ObjectMeta::default(),
            spec: Some(TokenRequestSpec {
                audiences: Some(vec![AUDIENCE.to_owned()]),
                expiration_seconds: Some(LIFETIME_SECONDS),
                bound_object_ref: None,
            }),
            status: None,
        };
        let made = accounts
            .create_token_request(READER, &PostParams::default(), &wanted)
            .await
            .map_err(|error| {
                let account = format!("{}/{READER}", self.service.namespace);
                refused(
                    &format!("a token of ServiceAccount {account} cannot be had"),
                    &error,
                )
            })?;
        Ok(Replicas {
            client: client.clone(),
            controller: self.clone(),
            token: made.status.and_then(|status| status.token).unwrap_or_default(),
            what: GATEWAYS.to_owned(),
        })
    }

    /// Asks each replica once.
    ///
    /// # Errors
    /// When none can be asked.
    pub(crate) async fn ask(&self, client: &Client) -> Result<Answers, Failure> {
        self.open(client).await?.ask().await
    }

    /// Asks for as long as somebody looks on.
    pub(crate) fn asking<'a>(&'a self, client: &'a Client) -> Asking<'a> {
        Asking {
            controller: self,
            client,
            open: None,
        }
    }
}

/// Replicas that are asked again and again, which a token does not live for.
pub(crate) struct Asking<'a> {
    controller: &'a Controller,
    client: &'a Client,
    open: Option<(Replicas, Instant)>,
}

impl Asking<'_> {
    /// Asks each replica once more.
    ///
    /// # Errors
    /// When none can be asked.
    pub(crate) async fn ask(&mut self) -> Result<Answers, Failure> {
        let now = clock::now();
        let (replicas, opened) = match self.open.take() {
            Some((replicas, opened)) if now.duration_since(opened) < RENEWAL => (replicas, opened),
            _ => (self.controller.open(self.client).await?, now),
        };
        let answers = replicas.ask().await?;
        self.open = Some((replicas, opened));
        Ok(answers)
    }
}

impl Replicas {
    /// Has each say, too, what its account may not do.
    pub(crate) fn with_rights(mut self) -> Self {
        self.what = format!("{GATEWAYS}?{RIGHTS}");
        self
    }

    /// Asks each replica.
    ///
    /// # Errors
    /// When there is none, or none answers.
    pub(crate) async fn ask(&self) -> Result<Answers, Failure> {
        let pods = self.pods(true).await?;
        if pods.is_empty() {
            let service = &self.controller.service;
            return Err(Failure::unreachable(format!(
                "no controller is ready: Service {service} has no endpoints; --clew-namespace and --service say where it is"
            )));
        }
        let answers = self.ask_each(pods).await;
        match (&answers.replicas[..], &answers.silent[..]) {
            ([], [first, ..]) => Err(Failure::unreachable(format!(
                "no replica of the controller answers; {}: {}",
                first.replica, first.why
            ))),
            _ => Ok(answers),
        }
    }

    /// Asks those that are not ready, which know nothing of proxies and may know why.
    ///
    /// # Errors
    /// When nobody says which there are.
    pub(crate) async fn ask_unready(&self) -> Result<Answers, Failure> {
        Ok(self.ask_each(self.pods(false).await?).await)
    }

    async fn ask_each(&self, pods: Vec<(String, i32)>) -> Answers {
        let asked = join_all(pods.iter().map(|(pod, port)| self.ask_one(pod, *port))).await;
        let mut answers = Answers::default();
        for ((replica, _), answer) in pods.into_iter().zip(asked) {
            match answer {
                Ok(view) => answers.replicas.push(view),
                Err(why) => answers.silent.push(Silent { replica, why }),
            }
        }
        answers
    }

    /// The pods behind the Service that are ready, or those that are not, and the port of each.
    async fn pods(&self, ready: bool) -> Result<Vec<(String, i32)>, Failure> {
        let Controller { service, port } = &self.controller;
        let slices: Api<EndpointSlice> = Api::namespaced(self.client.clone(), &service.namespace);
        let of_it = ListParams::default().labels(&format!("kubernetes.io/service-name={}", service.name));
        let listed = slices.list(&of_it).await.map_err(|error| {
            refused(
                &format!("the endpoints of Service {service} cannot be listed"),
                &error,
            )
        })?;
        let mut pods = Vec::new();
        for slice in listed {
            let ports: Vec<i32> = slice
                .ports
                .iter()
                .flatten()
                .filter_map(|port| port.port)
                .collect();
            let same = ports.iter().find(|known| **known == i32::from(*port));
            let Some(port) = same.or(ports.first()) else {
                continue;
            };
            for endpoint in slice.endpoints.unwrap_or_default() {
                let is_ready = endpoint.conditions.and_then(|conditions| conditions.ready) != Some(false);
                let pod = endpoint
                    .target_ref
                    .filter(|target| target.kind.as_deref() == Some("Pod"));
                let name = pod.filter(|_| is_ready == ready).and_then(|pod| pod.name);
                pods.extend(name.map(|name| (name, *port)));
            }
        }
        pods.sort();
        pods.dedup();
        Ok(pods)
    }

    async fn ask_one(&self, pod: &str, port: i32) -> Result<ReplicaView, String> {
        let namespace = &self.controller.service.namespace;
        let path = format!(
            "/api/v1/namespaces/{namespace}/pods/{pod}:{port}/proxy{}",
            self.what
        );
        let request = Request::get(path)
            .header(TOKEN, &self.token)
            .body(Vec::new())
            .map_err(|error| error.to_string())?;
        match tokio::time::timeout(PATIENCE, self.client.request(request)).await {
            Ok(Ok(view)) => Ok(view),
            Ok(Err(kube::Error::Api(status))) => Err(status.message.clone()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("no answer in time".to_owned()),
        }
    }
}

impl Answers {
    /// What all of them know together.
    pub(crate) fn gateways(&self) -> Vec<GatewayView> {
        merged(&self.replicas)
    }
}
