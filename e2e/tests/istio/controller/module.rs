//! The module on a gateway: its first installation cuts what it says, another module cuts nothing.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clew_e2e::pod::PORT;
use clew_e2e::visitors::LONG;
use clew_e2e::ws_client::{Session, Traffic};
use clew_e2e::{address, http, scene, standalone, wait};
use data_encoding::HEXLOWER;
use ring::digest;
use serde_json::{Value, json};

use super::edits::LISTENERS;
use super::shop::{Shop, install, install_by};
use super::{ISTIO, alone};
use crate::Mesh;

const NAME: &str = "module";
const SESSIONS: usize = 40;
const PLUGIN_PORT: u16 = 8081;

/// What stands in Envoy's listeners for a module that comes by itself.
const PLUGIN: &str = "extensions.istio.io/wasmplugin";

/// Whether a part of Envoy's configuration has this in it.
async fn envoy_has(mesh: &Mesh, part: &str, what: &str) -> Option<bool> {
    let dump = mesh
        .gateway
        .admin
        .get(&format!("/config_dump?resource={part}"))
        .await;
    Some(dump.ok()?.contains(what))
}

#[expect(
    clippy::print_stdout,
    reason = "what a test measured belongs beside its verdict"
)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_installation_cuts_what_it_says_and_another_module_cuts_nothing() -> Result<()> {
    let (mesh, _controller) = alone().await?;
    let mut shop = Shop::closed(mesh, NAME).await?;
    // Sessions that are there before Clew is, by a route of somebody's.
    let theirs = json!({
        "apiVersion": ISTIO, "kind": "VirtualService", "metadata": {"name": "theirs", "namespace": NAME},
        "spec": {
            "hosts": [format!("{NAME}.example.com")], "gateways": ["edge"],
            "http": [{"route": [{"destination": {"host": format!("chat.{NAME}.svc.cluster.local"), "port": {"number": PORT}}}]}],
        },
    });
    shop.client.apply(&theirs).await?;
    let printed = install(&mesh.cluster, NAME, &["--print"]).await?;
    let list: Value = serde_saphyr::from_str(printed.success()?)?;
    let objects = list["items"].as_array().context("objects")?;
    for object in objects {
        let object = shop.client.same(object)?;
        if object.get().await?.is_some() {
            object.delete().await?;
            object.gone().await?;
        }
    }
    wait::until("Envoy has no filter", LONG, async || {
        (!envoy_has(mesh, "dynamic_listeners", PLUGIN).await?).then_some(())
    })
    .await?;
    wait::until("handshakes get there", LONG, async || {
        shop.visitors.request(0).place(shop.visitors.gateway).await.ok()
    })
    .await?;

    let mut sessions = talking(&shop).await?;
    let asked = install(&mesh.cluster, NAME, &[]).await?;
    ensure!(
        asked.code == 2 && asked.stderr.contains(&format!("{SESSIONS} now")),
        "{asked:?}"
    );
    scene::all_answer(&sessions)
        .await
        .context("nothing is installed yet")?;
    let made = install(&mesh.cluster, NAME, &["--yes"]).await?;
    made.success()?;
    ensure!(made.stderr.contains(&format!("{SESSIONS} now")), "{made:?}");
    let mut cut = 0;
    for session in &mut sessions {
        let record = session.ended(LONG).await?;
        ensure!(record.code() == Some(1006), "a Close frame: {record:?}");
        cut += 1;
    }
    println!("{SESSIONS} sessions announced, {cut} cut by the first installation");
    let again = install(&mesh.cluster, NAME, &["--yes"]).await?;
    ensure!(
        again.success().is_ok() && again.stderr.contains("installed already"),
        "{again:?}"
    );

    let plugin = shop.client.same(&objects[0])?;
    let before = plugin.get().await?;
    let folder = tempfile::tempdir()?;
    let other_clew = other_clew(folder.path()).await?;
    // Somebody who starts a process meanwhile may still have the file open for writing.
    let other = wait::until("another clew can be run", LONG, async || {
        install_by(&other_clew, &mesh.cluster, NAME, &["--yes"])
            .await
            .ok()
    })
    .await?;
    ensure!(
        other.code == 1 && other.stderr.contains("CLEW0942") && other.stderr.contains("clew-0"),
        "{other:?}"
    );
    ensure!(plugin.get().await? == before, "{before:?}");

    shop.client.same(&theirs)?.delete().await?;
    shop.apply_route().await?;
    let mut sessions = talking(&shop).await?;
    let listeners = mesh.gateway.admin.stats(LISTENERS).await?;
    // As an upgrade of Clew brings one.
    let (url, sha256) = other_module().await?;
    let mut plugin = objects[0].clone();
    let ours = plugin["spec"]["sha256"].as_str().context("a sha256")?.to_owned();
    plugin["spec"]["url"] = json!(url);
    plugin["spec"]["sha256"] = json!(sha256);
    shop.client.apply(&plugin).await?;
    for (step, sha256) in [("another module", &sha256), ("the first one again", &ours)] {
        if step != "another module" {
            let back = install(&mesh.cluster, NAME, &["--yes"]).await?;
            back.success()?;
            ensure!(back.stderr.contains("no session ends"), "{back:?}");
        }
        wait::until(step, LONG, async || {
            envoy_has(mesh, "ecds_filters", sha256).await?.then_some(())
        })
        .await?;
        // Longer than Envoy lets a listener live that another one replaces.
        shop.visitors
            .settled("handshakes are answered", SESSIONS, |_| true)
            .await?;
        shop.programmed().await.context(step)?;
        scene::all_answer(&sessions).await.context(step)?;
        let now = mesh.gateway.admin.stats(LISTENERS).await?;
        ensure!(now == listeners, "{step}: {now:?} is not {listeners:?}");
    }
    scene::none_lost(&sessions)?;
    // Whom an older module holds is still looked after.
    let leaving = shop.pods[0].name().to_owned();
    shop.pods[0].terminate().await?;
    let mut left = 0;
    for session in sessions.iter_mut().filter(|one| one.served_by == leaving) {
        let record = session.ended(LONG).await?;
        ensure!(record.code() == Some(1012) && record.is_whole(), "{record:?}");
        left += 1;
    }
    ensure!(left > 0, "nobody was on {leaving}");
    println!(
        "{} sessions through two changes of the module: 0 lost, no listener touched; then {left} left their pod in order",
        sessions.len()
    );
    shop.close().await
}

async fn talking(shop: &Shop) -> Result<Vec<Session>> {
    shop.visitors
        .sessions(SESSIONS, Traffic::every(Duration::from_millis(100), 64))
        .await
}

/// A `clew` with another module in it: one byte of it is another, for nobody runs it.
async fn other_clew(folder: &Path) -> Result<PathBuf> {
    let ours = our_module().await?;
    let mut program = std::fs::read(standalone::binary()?)?;
    let begins = program.windows(ours.len()).position(|part| part == ours);
    let begins = begins.context("the module is in the program")?;
    let last = program
        .get_mut(begins + ours.len() - 1)
        .context("its last byte")?;
    *last = !*last;
    let path = folder.join("clew");
    std::fs::write(&path, program)?;
    std::fs::set_permissions(&path, Permissions::from_mode(0o755))?;
    Ok(path)
}

async fn our_module() -> Result<Vec<u8>> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("clew.wasm");
    let path = file.to_str().context("a path")?;
    standalone::clew(["wasm", "--output", path]).await?.success()?;
    Ok(std::fs::read(&file)?)
}

/// Our module with a section more, which says nothing, and where it can be got.
pub(super) async fn other_module() -> Result<(String, String)> {
    let mut module = our_module().await?;
    module.extend([0, 5, 4]);
    module.extend(b"none");
    let sha256 = HEXLOWER.encode(digest::digest(&digest::SHA256, &module).as_ref());
    let address = (address::next_in_cluster(), PLUGIN_PORT).into();
    http::serve(address, module).await?;
    Ok((format!("http://{address}/clew.wasm"), sha256))
}
