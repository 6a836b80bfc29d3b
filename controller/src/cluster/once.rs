//! A cluster as it is at one moment, looked at by somebody's own account: what the controller would work on.

use clew_core::explain;
use clew_core::in_force::InForce;
use clew_core::model::World;
use clew_core::objects::Objects;
use clew_core::render::rules;
use clew_core::validate::{Target, Validated};
use clew_filter_core::placement::Seed;
use clew_filter_core::token::Ring;
use futures_util::{StreamExt, TryStreamExt, stream};
use kube::Client;
use kube::api::ListParams;

use super::about::About;
use super::beside::Beside;
use super::drains::Drains;
use super::kind::Kind;
use super::resolve::Resolved;
use super::secrets::{self, Secrets};
use super::settings::Scope;
use super::store::Store;
use super::watch::{api, read, selected};
use crate::clock;
use crate::failure::Failure;

/// Lists that are under way at once.
const AT_ONCE: usize = 6;

/// Everything that a turn works on.
pub(crate) struct Once {
    resolved: Resolved,
    in_force: InForce,
}

/// A kind that cannot be listed, and why.
pub(crate) struct Unseen {
    pub(crate) kind: Kind,
    pub(crate) error: kube::Error,
}

impl Once {
    /// Lists every kind. None: the cluster knows no WebSocketRoutes.
    ///
    /// # Errors
    /// When one cannot be listed. Of Secrets only the controller's own is looked at, and it may be hidden.
    pub(crate) async fn look(client: &Client, scope: &Scope) -> Result<Option<Self>, Unseen> {
        let store = Store::default();
        let looks = Kind::ALL.map(|kind| look(client, kind, scope, &store));
        stream::iter(looks)
            .buffer_unordered(AT_ONCE)
            .try_collect::<()>()
            .await?;
        let resolved = Resolved::read(&store.lock(), &About::all())
            .map(|resolved| resolved.under(&scope.root_namespace));
        Ok(resolved.map(|resolved| Self {
            in_force: resolved.in_force_before(),
            resolved,
        }))
    }

    /// Looks at what no turn looks at, and of which an edit cuts sessions as well; the kinds that may not be listed.
    ///
    /// # Errors
    /// When something cannot be listed for another reason.
    pub(crate) async fn look_beside(&mut self, client: &Client) -> kube::Result<Vec<&'static str>> {
        let Beside { bystanders, hidden } = Beside::look(client).await?;
        self.resolved.objects.bystanders = bystanders;
        Ok(hidden)
    }

    /// What is in force. What is validated with it afterwards is an edit.
    pub(crate) fn validate(&mut self) -> Validated {
        let objects = self.resolved.objects.clone();
        self.validate_with(&objects)
    }

    /// What would be in force.
    pub(crate) fn validate_with(&mut self, objects: &Objects) -> Validated {
        self.in_force.validate(objects, Target::Every)
    }

    /// The hash seed, and the keys of persistence tokens.
    ///
    /// # Errors
    /// When the Secret with the seed cannot be read.
    pub(crate) async fn secrets(
        &self,
        client: &Client,
        namespace: &str,
        world: &World,
    ) -> Result<explain::Secrets, Failure> {
        let kept = Secrets::of(client, namespace).await?;
        let signs = self
            .resolved
            .signing
            .as_ref()
            .and_then(|(_, signs)| signs.as_deref());
        Ok(explain::Secrets {
            // It has been looked at: 32 hex digits.
            seed: Seed::parse(&kept.seed).unwrap_or_else(|| Seed::new([0; 16])),
            ring: Ring::new(&secrets::in_force(&world.signing_keys, signs)),
        })
    }

    /// As they were listed.
    pub(crate) fn objects(&self) -> &Objects {
        &self.resolved.objects
    }

    /// The pods that are leaving.
    pub(crate) fn drains(&self, world: &World) -> rules::Drains {
        let mut drains = Drains::default();
        drains
            .observe_of(world, |_| true, &self.resolved.pods, clock::unix_ms())
            .clone()
    }
}

async fn look(client: &Client, kind: Kind, scope: &Scope, store: &Store) -> Result<(), Unseen> {
    let params = ListParams {
        field_selector: selected(kind),
        ..ListParams::default()
    };
    let listed = api(client.clone(), kind, scope).list(&params).await;
    match listed {
        Ok(listed) => {
            let all = listed.items.into_iter().map(|object| read(kind, object));
            store.replace(kind, all.collect());
        }
        Err(kube::Error::Api(status)) if status.code == 404 => store.missing(kind),
        Err(kube::Error::Api(status)) if kind == Kind::Secret && status.is_forbidden() => {
            store.replace(kind, Vec::new());
        }
        Err(error) => return Err(Unseen { kind, error }),
    }
    Ok(())
}
