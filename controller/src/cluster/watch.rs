//! Follows every kind, whatever happens: a kind that is not installed is looked for again, and so is an API server that
//! is away.

use std::sync::Arc;
use std::time::Duration;

use clew_core::model::ObjectName;
use futures_util::StreamExt;
use kube::api::{Api, DynamicObject};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Client, ResourceExt};

use super::backoff::Backoff;
use super::kind::Kind;
use super::seen::{Seen, version};
use super::settings::{SIGNING_KEYS, Scope, Settings};
use super::store::{Read, Store};
use crate::clock;

/// The longest pause between two looks for something that is not there.
const LONGEST: Duration = Duration::from_secs(15);

/// Follows a kind for as long as the task lives.
pub(crate) async fn follow(client: Client, kind: Kind, settings: Arc<Settings>, store: Arc<Store>) {
    let api = api(client, kind, &settings.scope);
    let mut stream = watcher(api, config(kind)).boxed();
    let mut backoff = Backoff::new(LONGEST);
    let mut listing = Vec::new();
    while let Some(event) = stream.next().await {
        match event {
            Ok(event) => {
                // A list that begins is not one that ends well.
                if !matches!(event, Event::Init) {
                    backoff.reset();
                }
                took(kind, event, &mut listing, &store);
            }
            Err(error) => {
                listing.clear();
                failed(kind, &error, &store);
                clock::pause(backoff.next()).await;
            }
        }
    }
}

fn took(kind: Kind, event: Event<DynamicObject>, listing: &mut Vec<Read>, store: &Store) {
    match event {
        Event::Init => listing.clear(),
        Event::InitApply(object) => listing.push(read(kind, object)),
        Event::InitDone => store.replace(kind, std::mem::take(listing)),
        Event::Apply(object) => store.put(kind, read(kind, object)),
        Event::Delete(object) => store.gone(kind, &name(&object), version(&object)),
    }
}

fn failed(kind: Kind, error: &watcher::Error, store: &Store) {
    let status = match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => Some(status),
        _ => None,
    };
    match status {
        Some(status) if status.code == 404 => store.missing(kind),
        Some(status) if status.is_forbidden() => {
            let message = &status.message;
            tracing::error!("CLEW0920: no permission for {kind}: {message}");
            store.failing(kind, message.clone());
        }
        // The end of a watch that was open for long.
        Some(status) if status.code == 410 => {}
        _ => {
            tracing::warn!("CLEW0921: {kind} cannot be followed, and stays as it was: {error}");
            store.failing(kind, error.to_string());
        }
    }
}

pub(super) fn read(kind: Kind, object: DynamicObject) -> Read {
    let name = name(&object);
    Seen::read(kind, object).map_err(|why| (name, format!("{kind}: {why}")))
}

fn name(object: &DynamicObject) -> ObjectName {
    ObjectName::new(
        object.metadata.namespace.as_deref().unwrap_or_default(),
        object.name_any(),
    )
}

/// Where the objects of a kind are looked for. Of Secrets only our own is.
pub(super) fn api(client: Client, kind: Kind, scope: &Scope) -> Api<DynamicObject> {
    let resource = kind.resource();
    match (&scope.watched, kind) {
        (_, Kind::Secret) => Api::namespaced_with(client, &scope.namespace, &resource),
        (Some(namespace), kind) if !kind.is_of_cluster() => {
            Api::namespaced_with(client, namespace, &resource)
        }
        _ => Api::all_with(client, &resource),
    }
}

fn config(kind: Kind) -> watcher::Config {
    selected(kind).map_or_else(watcher::Config::default, |fields| {
        watcher::Config::default().fields(&fields)
    })
}

/// The field selector of a kind of which not every object is ours to see.
pub(super) fn selected(kind: Kind) -> Option<String> {
    (kind == Kind::Secret).then(|| format!("metadata.name={SIGNING_KEYS}"))
}
