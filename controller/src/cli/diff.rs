//! `clew diff`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clew_core::diff::{Diff, ListenerDiff, ObjectDiff, RuleDiff, SecretDiff, State, diff};
use clew_core::in_force::InForce;
use clew_core::model::World;
use clew_core::objects::{Objects, Sourced};
use clew_core::render::rules::Drains;
use clew_core::simulate::Moved;
use clew_core::validate::name_of;
use clew_filter_core::placement::Seed;
use hyper::Method;
use kube::Resource;
use serde::Serialize;

use super::ask::{Api, Standalone};
use super::manifests::{Checked, Paths};
use super::output::{self, Format};
use super::render::settings;
use super::target::{Cluster, Kube};
use crate::channel::view::GatewayView;
use crate::cluster::Once;
use crate::failure::{Failure, REFUSED};
use crate::finding::Finding;
use crate::manifests::Manifests;

#[derive(clap::Args)]
#[command(
    after_help = "Exit codes: 0 nothing changes, 1 something does or is refused, as kubectl diff has it.

Open sessions are counted where the controller says who is connected, or with --against the clew run of --api or \
--state-dir, else that of the default state folder if it runs."
)]
pub(crate) struct Args {
    /// File or folder of manifests as they are to be; may be given several times. In a cluster their WebSocketRoutes
    /// and WebSocketPolicies are looked at, and everything else is taken as the cluster has it
    #[arg(short = 'f', long = "filename", value_name = "PATH", required = true)]
    filename: Vec<PathBuf>,
    /// File or folder of manifests as they are, instead of a cluster; may be given several times
    #[arg(long, value_name = "PATH", conflicts_with_all = ["kubeconfig", "context", "namespace"])]
    against: Vec<PathBuf>,
    #[command(flatten)]
    api: Api,
    /// Session keys that are made up for each rule, to see how many move
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    keys: u32,
    /// How it is printed
    #[arg(short, long, value_enum, default_value = "table")]
    output: Format,
    #[command(flatten)]
    kube: Kube,
}

/// What changes, and for whom.
#[derive(Serialize)]
struct Answer {
    #[serde(flatten)]
    diff: Diff,
    /// Open sessions of each rule that changes; null: nobody could be asked.
    sessions: Option<BTreeMap<String, u64>>,
    /// Open sessions of the rules behind the listeners that are touched, which end all of theirs. At most, as a rule may be behind
    /// others too; null: nobody could be asked.
    ended: Option<u64>,
    /// What is wrong with the new manifests. What is refused changes nothing.
    findings: Vec<Finding>,
    /// How many were made up for each rule.
    #[serde(skip)]
    keys: u32,
}

/// What is, or what would be.
struct Side {
    world: World,
    drains: Drains,
}

/// How many sessions of each rule are open.
type Open = BTreeMap<String, u64>;

pub(super) fn main(args: &Args) -> Result<ExitCode, Failure> {
    let answer = super::runtime()?.block_on(async {
        match args.against.is_empty() {
            true if args.api.is_said() => Err(Failure::usage(
                "--api and --state-dir are of a clew run: --against says which manifests it has",
            )),
            true => of_cluster(&args.kube.open().await?, args).await,
            false => of_files(args).await,
        }
    })?;
    for finding in &answer.findings {
        eprintln!("{finding}");
    }
    args.output.print(&answer, || drawn(&answer))?;
    Ok(match answer.is_nothing() {
        true => ExitCode::SUCCESS,
        false => REFUSED.into(),
    })
}

async fn of_files(args: &Args) -> Result<Answer, Failure> {
    let mut in_force = InForce::default();
    let before = Paths::of(&args.against).check_as_edits(&mut in_force);
    let after = Paths::of(&args.filename).check_as_edits(&mut in_force);
    let side = |checked: Checked| Side {
        world: checked.validated.world,
        drains: checked.drains,
    };
    all_read(before.findings.iter().chain(&after.findings))?;
    let findings = after.findings.clone();
    let open = match args.api.found() {
        Some(run) if args.api.is_said() || args.api.is_nearby().await => counted(open_at(&run).await),
        None if args.api.is_said() => counted(Err(Failure::unreachable("no clew run has that state folder"))),
        _ => None,
    };
    Ok(Answer::of(&side(before), &side(after), args.keys, open, findings))
}

/// Where nobody says it, that is said.
fn counted(open: Result<Open, Failure>) -> Option<Open> {
    open.inspect_err(|why| eprintln!("warning: open sessions are not counted: {why}"))
        .ok()
}

/// As a `clew run` counts them.
async fn open_at(run: &Standalone) -> Result<Open, Failure> {
    let sessions = run.ask(Method::GET, "/v1/sessions", None).await?;
    let mut open = Open::new();
    for one in sessions["rules"].as_array().into_iter().flatten() {
        if let (Some(rule), Some(sessions)) = (one["rule"].as_str(), one["sessions"].as_u64()) {
            *open.entry(rule.to_owned()).or_default() += sessions;
        }
    }
    Ok(open)
}

/// As proxies said it to the controllers.
fn open_in(gateways: &[GatewayView]) -> Open {
    let proxies = gateways.iter().flat_map(|gateway| &gateway.proxies);
    let mut open = Open::new();
    for live in proxies.flat_map(|proxy| &proxy.live) {
        *open.entry(live.rule.clone()).or_default() += live.sessions;
    }
    open
}

/// What a file that nobody understands says is not known, and would look as if it were to go.
fn all_read<'f>(findings: impl IntoIterator<Item = &'f Finding>) -> Result<(), Failure> {
    let is_of_file = |finding: &&Finding| finding.is_error() && finding.code.starts_with("CLEW00");
    let unread: Vec<_> = findings.into_iter().filter(is_of_file).collect();
    for finding in &unread {
        eprintln!("{finding}");
    }
    match unread.is_empty() {
        true => Ok(()),
        false => Err(Failure::refused(
            "nothing is compared: mend what cannot be read first",
        )),
    }
}

async fn of_cluster(cluster: &Cluster, args: &Args) -> Result<Answer, Failure> {
    let mut once = cluster.once().await?;
    let side = |once: &Once, world: World| Side {
        drains: once.drains(&world),
        world,
    };
    let before = once.validate();
    let manifests = Manifests::once(args.filename.clone());
    all_read(&manifests.findings())?;
    let after = once.validate_with(&with_texts(once.objects(), manifests.objects()));
    let mut findings = manifests.findings();
    findings.extend(
        Finding::of_validated(&after)
            .into_iter()
            .filter(|finding| !finding.file.is_empty()),
    );
    findings.sort();
    let answers = cluster.controller.ask(&cluster.connection.client).await;
    for silent in answers.iter().flat_map(|answers| &answers.silent) {
        let (replica, why) = (&silent.replica, &silent.why);
        eprintln!(
            "warning: replica {replica} says nothing, and open sessions that only it knows are not counted: {why}"
        );
    }
    let open = counted(answers.map(|answers| open_in(&answers.gateways())));
    let (before, after) = (side(&once, before.world), side(&once, after.world));
    Ok(Answer::of(&before, &after, args.keys, open, findings))
}

/// What a cluster has, with these routes and policies instead of its own of the same names.
fn with_texts(cluster: &Objects, files: Objects) -> Objects {
    let mut objects = cluster.clone();
    replace(&mut objects.routes, files.routes);
    replace(&mut objects.policies, files.policies);
    objects
}

/// Each stays as old as it is.
fn replace<T: Resource + Clone>(known: &mut Vec<Sourced<T>>, of_files: Vec<Sourced<T>>) {
    for mut new in of_files {
        let name = name_of(new.object.meta());
        let old = known.iter().position(|old| name_of(old.object.meta()) == name);
        if let Some(old) = old.map(|at| known.remove(at)) {
            let (old, new) = (old.object.meta(), Arc::make_mut(&mut new.object).meta_mut());
            new.creation_timestamp.clone_from(&old.creation_timestamp);
            new.uid.clone_from(&old.uid);
        }
        known.push(new);
    }
}

impl Answer {
    fn of(before: &Side, after: &Side, keys: u32, open: Option<Open>, findings: Vec<Finding>) -> Self {
        // How many keys move is much the same by every seed.
        let seed = Seed::new([0; 16]);
        let diff = diff(before.state(), after.state(), &seed, &settings(), keys);
        let of = |open: &Open, rule: &String| open.get(rule).copied().unwrap_or(0);
        let behind: BTreeSet<_> = diff.listeners.iter().flat_map(|one| &one.rules).collect();
        let ended = open
            .as_ref()
            .map(|open| behind.iter().map(|rule| of(open, rule)).sum());
        let of_rule = |rule: &RuleDiff, open| (rule.rule.clone(), of(open, &rule.rule));
        let sessions = open
            .as_ref()
            .map(|open| diff.rules.iter().map(|rule| of_rule(rule, open)).collect());
        Self {
            sessions,
            ended,
            diff,
            findings,
            keys,
        }
    }

    fn is_nothing(&self) -> bool {
        self.diff == Diff::default() && !self.findings.iter().any(Finding::is_error)
    }
}

impl Side {
    fn state(&self) -> State<'_> {
        State {
            world: &self.world,
            drains: &self.drains,
        }
    }
}

fn drawn(answer: &Answer) -> String {
    let Diff {
        objects,
        listeners,
        added_listeners: added,
        secrets,
        rules,
    } = &answer.diff;
    let mut parts = Vec::new();
    if !objects.is_empty() {
        let row = |object: &ObjectDiff| {
            let name = format!("{}/{}", object.namespace, object.name);
            [object.action.to_string(), object.kind.to_owned(), name]
        };
        parts.push(output::table(["", "OBJECT", "NAME"], objects.iter().map(row)));
    }
    if !rules.is_empty() {
        let open = |rule: &RuleDiff| match &answer.sessions {
            Some(sessions) => sessions.get(&rule.rule).copied().unwrap_or(0).to_string(),
            None => "?".to_owned(),
        };
        let row = |rule: &RuleDiff| {
            let ends = match &rule.ends[..] {
                [] => "none".to_owned(),
                ends => ends.join("; "),
            };
            let moved = rule
                .keys
                .map_or_else(|| "–".to_owned(), |moved| said(moved, answer.keys));
            [
                rule.action.to_string(),
                rule.rule.clone(),
                open(rule),
                ends,
                moved,
            ]
        };
        let header = ["", "RULE", "OPEN SESSIONS", "OF THEM MAY END", "KEYS THAT MOVE"];
        parts.push(output::table(header, rules.iter().map(row)));
    }
    if !secrets.is_empty() {
        let row = |secret: &SecretDiff| {
            let name = secret.name.clone().unwrap_or_else(|| "–".to_owned());
            [secret.action.to_string(), name, secret.what.clone()]
        };
        parts.push(output::table(["", "SECRET", "WHAT"], secrets.iter().map(row)));
    }
    let listener = |listener: &ListenerDiff| {
        [
            listener.address.to_string(),
            listener.gateway.clone(),
            listener.why.clone(),
        ]
    };
    if !added.is_empty() {
        let header = ["LISTENERS ADDED", "GATEWAY", "WHY"];
        parts.push(output::table(header, added.iter().map(listener)));
    }
    let is_refused = answer.findings.iter().any(Finding::is_error);
    parts.push(match (&listeners[..], answer.ended) {
        ([], _) if parts.is_empty() && is_refused => "refused: what is in force stays as it is\n".to_owned(),
        ([], _) if parts.is_empty() => "nothing changes\n".to_owned(),
        ([], _) => "no listener is touched: no session is cut\n".to_owned(),
        (touched, ended) => {
            let header = ["LISTENERS TOUCHED", "GATEWAY", "WHY"];
            let table = output::table(header, touched.iter().map(listener));
            let ended = ended.map_or_else(|| "all of their".to_owned(), |n| format!("at most {n}"));
            format!("{table}\nends {ended} open sessions, without a Close: drain them first\n")
        }
    });
    parts.join("\n")
}

fn said(moved: Moved, keys: u32) -> String {
    let percent = moved.keys as f64 * 100.0 / f64::from(keys);
    match moved.keys {
        0 => "none".to_owned(),
        _ => format!("{percent:.1} % (× {:.3} of what must)", moved.ratio),
    }
}
