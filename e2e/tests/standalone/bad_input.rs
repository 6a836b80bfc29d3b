//! Whatever is wrong with the input or the machine: a clear answer with a code, and no live session lost.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use clew_e2e::address::{self, PORT};
use clew_e2e::manifests::{self, Folder};
use clew_e2e::scene::{self, ROUTE, SERVICE, Scene};
use clew_e2e::standalone::{Clew, Options, Output, State, clew};
use clew_e2e::wait;
use clew_e2e::ws_client::{Answer, Request, Session, Traffic};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::{SOON, by_room, rooms};

async fn with_sessions() -> Result<(Scene, Vec<Session>)> {
    let scene = Scene::new(3, json!({"sessionKey": by_room()})).await?;
    let sessions = scene.open(&rooms(0..30), |_| Traffic::idle()).await?;
    Ok((scene, sessions))
}

fn good_route() -> Value {
    let rule = manifests::rule("rooms", "/ws", SERVICE, PORT, json!({"sessionKey": by_room()}));
    manifests::route(ROUTE, json!([rule]))
}

/// `CLEW` and four digits.
fn code(text: &str) -> Option<&str> {
    let at = text.match_indices("CLEW").map(|(at, _)| at);
    at.filter_map(|at| text.get(at..at + 8))
        .find(|code| code[4..].bytes().all(|b| b.is_ascii_digit()))
}

async fn validate(folder: &Path) -> Result<Output> {
    clew(["validate".as_ref(), "-f".as_ref(), folder.as_os_str()]).await
}

/// Saves a broken route under live sessions: `run` says why, `validate` too with exit 1, both name the file and all of
/// `wanted`; placement stays as it was and no session is lost; the next good save works.
async fn is_refused(broken: &str, wanted: &[&str]) -> Result<()> {
    let (scene, sessions) = with_sessions().await?;
    let homes = scene.place(&rooms(0..60)).await?;
    let said = scene.clew.stderr().len();
    scene.folder.put_text("route", broken)?;
    scene.clew.says(said, "route.yaml").await?;
    let offline = validate(scene.folder.path()).await?;
    assert_eq!(offline.code, 1, "{offline:?}");
    for text in [scene.clew.stderr()[said..].to_owned(), offline.text()] {
        assert!(
            text.contains("route.yaml") && code(&text).is_some(),
            "no file or no code in: {text}"
        );
        wanted
            .iter()
            .for_each(|words| assert!(text.contains(words), "{words:?} is not in: {text}"));
    }
    println!("{}", offline.text().trim());
    assert_eq!(
        scene.place(&rooms(0..60)).await?,
        homes,
        "the last good state stays in force"
    );
    scene::all_answer(&sessions).await?;

    let mut mended = good_route();
    mended["spec"]["rules"][0]["matches"][0]["path"]["value"] = json!("/mended");
    scene.folder.put("route", &mended)?;
    let place = async || Request::new("/mended?room=1").place(scene.gateway()).await.ok();
    wait::until("the mended route", SOON, place).await?;
    scene::all_answer(&sessions).await
}

fn line_of(text: &str, words: &str) -> Result<usize> {
    Ok(text
        .lines()
        .position(|line| line.contains(words))
        .context("no such line")?
        + 1)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invalid_yaml() -> Result<()> {
    let broken = serde_saphyr::to_string(&good_route())?.replace("parentRefs:", "parentRefs: [}");
    let line = format!(":{}", line_of(&broken, "[}")?);
    is_refused(&broken, &[&line]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_field_with_a_suggestion() -> Result<()> {
    let broken = serde_saphyr::to_string(&good_route())?.replace("sessionKey:", "sesionKey:");
    let line = format!(":{}", line_of(&broken, "sesionKey")?);
    is_refused(&broken, &["sesionKey", "sessionKey", &line]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_type() -> Result<()> {
    let broken = serde_saphyr::to_string(&good_route())?.replace(&format!("port: {PORT}"), "port: http");
    is_refused(&broken, &["port", "rules[0].backendRefs[0]"]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_routes_for_the_same_match_the_older_wins_and_the_loser_says_so() -> Result<()> {
    let (scene, sessions) = with_sessions().await?;
    let other = clew_e2e::echo_server::EchoServer::start("other-0").await?;
    let pods = [manifests::Pod::new("other-0", other.address())];
    let backend = [
        manifests::service("other", PORT),
        manifests::endpoint_slice("other", PORT, &pods),
    ];
    scene.folder.put_all("other", &backend)?;
    let with_age = |mut route: Value, created: &str| {
        route["metadata"]["creationTimestamp"] = json!(created);
        route
    };
    scene
        .folder
        .put("route", &with_age(good_route(), "2026-01-02T00:00:00Z"))?;
    let rival = |created| {
        let rule = manifests::rule("rooms", "/ws", "other", PORT, json!({"sessionKey": by_room()}));
        let own = manifests::rule("own", "/own", "other", PORT, json!({"sessionKey": by_room()}));
        with_age(manifests::route("rival", json!([rule, own])), created)
    };
    let said = scene.clew.stderr().len();
    scene.folder.put("rival", &rival("2026-01-03T00:00:00Z"))?;
    scene.clew.says(said, "rival").await?;
    let answer = validate(scene.folder.path()).await?;
    assert_eq!(answer.code, 1, "{answer:?}");
    assert!(
        answer.text().contains("shop/chat") && code(&answer.text()).is_some(),
        "{}",
        answer.text()
    );
    assert!(
        !scene.place(&rooms(0..40)).await?.contains(&"other-0".to_owned()),
        "the older one wins"
    );

    scene.folder.put("rival", &rival("2026-01-01T00:00:00Z"))?;
    wait::until("the older one wins", SOON, async || {
        let homes = scene.place(&rooms(0..40)).await.ok()?;
        homes.iter().all(|home| home == "other-0").then_some(())
    })
    .await?;
    let folder = scene.folder.path().as_os_str();
    let render = [
        "render".as_ref(),
        "--to".as_ref(),
        "envoy".as_ref(),
        "-f".as_ref(),
        folder,
    ];
    let status = clew(render).await?.text();
    assert!(
        status.contains("Conflicted") && status.contains("shop/rival"),
        "{status}"
    );
    scene::all_answer(&sessions).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_that_does_not_exist() -> Result<()> {
    let (scene, sessions) = with_sessions().await?;
    let said = scene.clew.stderr().len();
    let rule = manifests::rule(
        "rooms",
        "/nowhere",
        "nobody",
        PORT,
        json!({"sessionKey": by_room()}),
    );
    scene
        .folder
        .put("nowhere", &manifests::route("nowhere", json!([rule])))?;
    scene.clew.says(said, "nobody").await?;
    let answer = validate(scene.folder.path()).await?;
    assert!(
        answer.code == 1 && answer.text().contains("shop/nobody"),
        "{answer:?}"
    );
    assert!(code(&answer.text()).is_some(), "{answer:?}");
    match Request::new("/nowhere?room=1").send(scene.gateway()).await? {
        Answer::Refused(head, _) => assert!(matches!(head.status, 404 | 500 | 503), "{head:?}"),
        Answer::Opened(_) => panic!("a session with nobody"),
    }
    scene.place(&rooms(0..30)).await?;
    scene::all_answer(&sessions).await?;
    // It comes to be, and the route works without being saved again.
    let server = clew_e2e::echo_server::EchoServer::start("nobody-0").await?;
    let pods = [manifests::Pod::new("nobody-0", server.address())];
    let backend = [
        manifests::service("nobody", PORT),
        manifests::endpoint_slice("nobody", PORT, &pods),
    ];
    scene.folder.put_all("nobody", &backend)?;
    let place = async || Request::new("/nowhere?room=1").place(scene.gateway()).await.ok();
    assert_eq!(
        wait::until("the backend is there", SOON, place).await?,
        "nobody-0"
    );
    scene::all_answer(&sessions).await
}

/// A folder with a Gateway and nothing else.
fn only_a_gateway(address: SocketAddr) -> Result<Folder> {
    let folder = Folder::new()?;
    folder.put("gateway", &manifests::gateway(address))?;
    Ok(folder)
}

#[tokio::test]
async fn a_port_in_use() -> Result<()> {
    let taken = TcpListener::bind(address::next()).await?;
    let address = taken.local_addr()?;
    let (folder, state) = (only_a_gateway(address)?, State::new()?);
    let answer = Clew::refused(&Options::new(folder.path(), state.path())).await?;
    println!("{}", answer.stderr.trim());
    assert!(
        answer.code > 0 && answer.stderr.contains(&address.to_string()),
        "{answer:?}"
    );
    assert!(code(&answer.stderr).is_some(), "{answer:?}");
    Ok(())
}

#[tokio::test]
async fn a_port_that_its_own_envoy_has() -> Result<()> {
    let (own, state) = (address::next(), State::new()?);
    let folder = only_a_gateway(own)?;
    let clew = Clew::start(&Options::new(folder.path(), state.path())).await?;
    state.owns(clew.ready.pid);
    let said = clew.stderr().len();
    let everywhere = SocketAddr::from(([0, 0, 0, 0], own.port()));
    folder.put("gateway", &manifests::gateway(everywhere))?;
    clew.says(said, "which this clew run listens itself").await?;
    let line = clew.stderr().split_off(said);
    println!("{}", line.trim());
    assert!(
        line.contains("CLEW0901") && !line.contains("another program"),
        "{line}"
    );
    let listeners = clew.ready.admin.get("/listeners").await?;
    assert!(
        listeners.contains(&own.to_string()) && !listeners.contains("0.0.0.0"),
        "{listeners}"
    );
    Ok(())
}

#[tokio::test]
async fn no_permission() -> Result<()> {
    let folder = only_a_gateway(address::next())?;
    // Nobody may make a folder there, root included.
    let answer = Clew::refused(&Options::new(folder.path(), Path::new("/proc/clew-state"))).await?;
    println!("{}", answer.stderr.trim());
    assert!(
        answer.code > 0 && answer.stderr.contains("/proc/clew-state"),
        "{answer:?}"
    );
    assert!(code(&answer.stderr).is_some(), "{answer:?}");
    let (state, nowhere) = (State::new()?, folder.path().join("not-there"));
    let answer = Clew::refused(&Options::new(&nowhere, state.path())).await?;
    assert!(
        answer.code > 0 && answer.stderr.contains("not-there"),
        "{answer:?}"
    );
    assert!(code(&answer.stderr).is_some(), "{answer:?}");
    Ok(())
}

#[tokio::test]
async fn an_envoy_of_an_unsupported_version_or_none() -> Result<()> {
    let (folder, state) = (only_a_gateway(address::next())?, State::new()?);
    let old = state.path().join("old-envoy");
    let says = "envoy  version: 84305a6cb64bd55aaf606bdd53de7cd6080427a1/1.38.0/Clean/RELEASE/BoringSSL";
    std::fs::write(&old, format!("#!/bin/sh\necho; echo '{says}'; echo\n"))?;
    std::fs::set_permissions(&old, PermissionsExt::from_mode(0o755))?;
    let options = Options {
        envoy: Some(old),
        ..Options::new(folder.path(), state.path())
    };
    let answer = Clew::refused(&options).await?;
    println!("{}", answer.stderr.trim());
    assert!(answer.code > 0 && answer.stderr.contains("1.38.0"), "{answer:?}");
    assert!(code(&answer.stderr).is_some(), "{answer:?}");
    let options = Options {
        envoy: Some("/no/such/envoy".into()),
        ..options
    };
    let answer = Clew::refused(&options).await?;
    assert!(
        answer.code == 3 && answer.stderr.contains("/no/such/envoy"),
        "{answer:?}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_in_the_state_folder() -> Result<()> {
    // A disk of its own, small enough to fill: in a mount namespace that only `clew run` and its Envoy see.
    let disk = State::new()?;
    let wrapper = disk.path().join("clew-on-a-small-disk");
    let script = format!(
        "#!/bin/sh\nset -e\nmount -t tmpfs -o size=24m none {0}/mnt\nexec {1} \"$@\"\n",
        disk.path().display(),
        clew_e2e::standalone::binary()?.display(),
    );
    std::fs::create_dir(disk.path().join("mnt"))?;
    std::fs::write(&wrapper, script)?;
    std::fs::set_permissions(&wrapper, PermissionsExt::from_mode(0o755))?;
    let server = clew_e2e::echo_server::EchoServer::start("disk-0").await?;
    let folder = only_a_gateway(address::next())?;
    let pods = [manifests::Pod::new("disk-0", server.address())];
    let backend = [
        manifests::service(SERVICE, PORT),
        manifests::endpoint_slice(SERVICE, PORT, &pods),
    ];
    folder.put_all("backend", &backend)?;
    folder.put("route", &good_route())?;
    let under = vec!["unshare".into(), "-Urm".into(), wrapper.as_os_str().to_owned()];
    let options = Options {
        under,
        ..Options::new(folder.path(), &disk.path().join("mnt"))
    };
    let running = Clew::start(&options)
        .await
        .context("this test needs user namespaces (`unshare -Urm`)")?;
    disk.owns(running.ready.pid);
    let session = Request::new("/ws?room=1")
        .open(running.gateway())
        .await?
        .session(Traffic::idle());

    let inside = format!(
        "/proc/{}/root{}/mnt/filler",
        running.pid().context("a pid")?,
        disk.path().display()
    );
    let block = vec![0u8; 4096];
    let mut filler = std::fs::File::create(&inside)?;
    let full = std::iter::repeat_with(|| std::io::Write::write_all(&mut filler, &block))
        .find_map(Result::err)
        .context("the disk never fills")?;
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull, "the fault happened");

    let said = running.stderr().len();
    let mut edited = good_route();
    edited["spec"]["rules"][0]["matches"][0]["path"]["value"] = json!("/edited");
    folder.put("route", &edited)?;
    wait::until_true("an error with a code", SOON, || {
        running
            .stderr()
            .get(said..)
            .is_some_and(|text| code(text).is_some())
    })
    .await?;
    println!("{}", running.stderr()[said..].trim());
    session.check().await?;
    Request::new("/ws?room=1")
        .place(running.gateway())
        .await
        .context("what was in force stays in force")?;

    drop(filler);
    std::fs::remove_file(&inside)?;
    edited["metadata"]["annotations"] = json!({"note": "saved again"});
    folder.put("route", &edited)?;
    let place = async || Request::new("/edited?room=1").place(running.gateway()).await.ok();
    wait::until("the edit works when there is room again", SOON, place).await?;
    session.check().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_routes() -> Result<()> {
    let (scene, sessions) = with_sessions().await?;
    let routes: Vec<Value> = (0..10_000)
        .map(|i| {
            let prefix = format!("/many/{i}");
            let rule = manifests::rule("rooms", &prefix, SERVICE, PORT, json!({"sessionKey": by_room()}));
            manifests::route(&format!("many-{i}"), json!([rule]))
        })
        .collect();
    let began = std::time::Instant::now();
    scene.folder.put_all("many", &routes)?;
    let last = Request::new("/many/9999?room=1");
    wait::until("the last of 10,000 routes works", SOON * 2, async || {
        last.place(scene.gateway()).await.ok()
    })
    .await?;
    println!("10,000 routes in force after {:?}", began.elapsed());
    scene::all_answer(&sessions).await?;
    scene.place(&rooms(0..30)).await?;
    scene.folder.remove("many")?;
    wait::until("they are gone", SOON * 2, async || {
        match last.send(scene.gateway()).await {
            Ok(Answer::Refused(head, _)) if head.status == 404 => Some(()),
            _ => None,
        }
    })
    .await?;
    scene::all_answer(&sessions).await
}
