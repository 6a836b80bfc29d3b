//! The page at `/`, in a real browser: what a person sees of routes, sessions and drains while they happen, and what nobody may make of it.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use clew_e2e::address::PORT;
use clew_e2e::browser::Browser;
use clew_e2e::http;
use clew_e2e::manifests;
use clew_e2e::scene::{SERVICE, Scene};
use clew_e2e::ws_client::{Session, Traffic};
use serde_json::{Value, json};

use crate::{SOON, by_room, rooms};

const SESSIONS: usize = 60;
/// What would be run, or shown otherwise than as text, if it were taken for HTML.
const HOSTILE: &str = "<img src=x onerror=window.hacked=1><b>bold";

/// The least contrast of any text with what is behind it, and which text that is.
const CONTRAST: &str = r#"(() => {
  const numbers = colour => colour.match(/[\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b]
    .map(part => part / 255).map(part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
    .reduce((sum, part, index) => sum + part * [0.2126, 0.7152, 0.0722][index], 0);
  const behind = node => {
    for (; node; node = node.parentElement) {
      const colour = numbers(getComputedStyle(node).backgroundColor);
      if (colour.length === 3 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let least = [99, ""];
  while (texts.nextNode()) {
    const node = texts.currentNode.parentElement, text = texts.currentNode.data.trim();
    if (!text || !node.checkVisibility() || ["SCRIPT", "STYLE"].includes(node.tagName)) continue;
    const [one, two] = [light(numbers(getComputedStyle(node).color)), light(behind(node))].sort((a, b) => b - a);
    const contrast = (one + 0.05) / (two + 0.05);
    if (contrast < least[0]) least = [contrast, text];
  }
  return least;
})()"#;

fn cells(table: &str, row: &str, cell: usize) -> String {
    format!(
        "[...document.querySelectorAll('{table} tbody tr')].find(row => row.textContent.includes({row:?}))?.children[{cell}].textContent"
    )
}

/// Leaves a picture where `CLEW_PICTURES` says so.
fn picture(browser: &mut Browser, name: &str) -> Result<()> {
    match std::env::var_os("CLEW_PICTURES") {
        Some(folder) => browser.picture(&Path::new(&folder).join(format!("{name}.png"))),
        None => Ok(()),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_sees_sessions_come_a_pod_drain_and_what_is_refused() -> Result<()> {
    let drain = json!({"timeout": "6s"});
    let mut scene = Scene::new(3, json!({"sessionKey": by_room(), "drain": drain})).await?;
    let mut page = Browser::open(scene.clew.ready.api).await?;
    let own = "document.querySelector('#ready').textContent";
    page.sees(&format!("{own} === '1 of 1'"), SOON).await?;
    page.sees("document.querySelector('#sessions').textContent === '0'", SOON)
        .await?;
    ensure!(page.evaluate("document.querySelector('#no-drains').checkVisibility()")? == true);

    // What is unfolded with the keyboard stays so while the numbers change.
    for _ in 0..9 {
        page.presses("Tab", 9, "")?;
        if page.evaluate("document.activeElement.tagName")? == "SUMMARY" {
            break;
        }
    }
    page.presses("Enter", 13, "\r")?;
    page.sees("document.querySelector('details').open", SOON).await?;
    let sessions = scene.open(&rooms(0..SESSIONS), |_| Traffic::idle()).await?;
    page.sees(
        &format!("document.querySelector('#sessions').textContent === '{SESSIONS}'"),
        SOON,
    )
    .await?;
    page.sees(
        "document.querySelector('details').open && document.activeElement.tagName === 'SUMMARY'",
        SOON,
    )
    .await?;
    let on = |pod: &str| sessions.iter().filter(|session| session.served_by == pod).count();
    for pod in &scene.pods {
        let shown = page.evaluate(&cells("#backends", &pod.name, 1))?;
        ensure!(shown == json!(on(&pod.name).to_string()), "{}: {shown}", pod.name);
    }
    let shown = page.evaluate(&cells("#routes", "shop/chat", 1))?;
    ensure!(shown == json!(SESSIONS.to_string()), "{shown}");
    ensure!(page.complaints().is_empty(), "{:#?}", page.complaints());
    legible(&mut page)?;
    told_to_everybody(&mut page)?;

    // What is refused, by names that would like to be more than that.
    scene.folder.put_text(HOSTILE, "neither: [")?;
    let policy = json!({"security": {"origin": {"allowed": [HOSTILE]}}});
    let rule = |policy| json!([manifests::rule("rooms", "/other", SERVICE, PORT, policy)]);
    let mut lost = manifests::route("lost", rule(json!({})));
    lost["spec"]["parentRefs"] = json!([{"name": "nowhere"}]);
    scene.folder.put("lost", &lost)?;
    scene
        .folder
        .put("hostile", &manifests::route("hostile", rule(policy)))?;
    page.sees(
        &format!("({}) === '× no'", cells("#routes", "shop/lost", 2)),
        SOON,
    )
    .await?;
    page.sees(
        &format!("({}).includes({HOSTILE:?})", cells("#findings", "CLEW0001", 1)),
        SOON,
    )
    .await?;
    page.sees(&format!("document.body.innerText.includes({HOSTILE:?})"), SOON)
        .await?;
    ensure!(page.evaluate("document.querySelectorAll('img, b').length")? == 0);
    ensure!(page.evaluate("'hacked' in window")? == false);
    page.sees(
        "document.querySelector('#standing').textContent.includes('Not ready: 1 of 2 routes.')",
        SOON,
    )
    .await?;
    picture(&mut page, "refused")?;
    for file in [HOSTILE, "hostile", "lost"] {
        scene.folder.remove(file)?;
    }
    page.sees(&format!("{own} === '1 of 1'"), SOON).await?;

    // A drain, from its first Close to its last.
    let leaving = scene.pods[1].name.clone();
    let there = on(&leaving);
    scene.terminate_pod(&leaving)?;
    page.sees(
        &format!("document.querySelector('#standing').textContent.includes('{leaving} drains')"),
        SOON,
    )
    .await?;
    page.sees(
        "(bar => bar && bar.value > 0 && bar.value < bar.max)(document.querySelector('#drains progress'))",
        SOON,
    )
    .await?;
    let shown = page.evaluate(&cells("#drains", &leaving, 2))?;
    ensure!(
        shown
            .as_str()
            .is_some_and(|shown| shown.ends_with(&format!(" of {there}"))),
        "{shown}"
    );
    legible(&mut page)?;
    picture(&mut page, "light")?;
    page.looks(1280, 900, "dark")?;
    picture(&mut page, "dark")?;
    page.looks(1280, 900, "light")?;
    page.sees(
        &format!("({}) === 'all have left'", cells("#drains", &leaving, 4)),
        SOON,
    )
    .await?;
    let rest = sessions.iter().filter(|session| session.is_live()).count();
    ensure!(rest == SESSIONS - there, "{rest} of {SESSIONS}, {there} left");
    page.sees(
        &format!("document.querySelector('#sessions').textContent === '{rest}'"),
        SOON,
    )
    .await?;
    ensure!(page.complaints().is_empty(), "{:#?}", page.complaints());
    drop::<Vec<Session>>(sessions);

    // Nobody answers any more.
    scene.clew.kill().await?;
    page.sees(
        "document.querySelector('#standing').textContent.includes('No answer since')",
        SOON,
    )
    .await
}

/// In light and in dark, wide and narrow.
fn legible(page: &mut Browser) -> Result<()> {
    let mut grounds = Vec::new();
    for (width, colours) in [(1280, "light"), (1280, "dark"), (400, "light"), (400, "dark")] {
        page.looks(width, 900, colours)?;
        let least = page.evaluate(CONTRAST)?;
        ensure!(least[0].as_f64() >= Some(4.5), "{colours}: {least}");
        grounds.push(page.evaluate("getComputedStyle(document.body).backgroundColor")?);
        let overflow = page.evaluate("document.documentElement.scrollWidth <= innerWidth")?;
        ensure!(overflow == true, "wider than {width}");
    }
    ensure!(grounds[0] != grounds[1], "dark is as light: {grounds:?}");
    page.looks(1280, 900, "light")
}

/// Also to who hears it, or moves by landmarks and tables.
fn told_to_everybody(page: &mut Browser) -> Result<()> {
    let told = page.accessible()?;
    let has = |role: &str, name: &str| {
        told.iter()
            .any(|(its, called)| its == role && called.contains(name))
    };
    for (role, name) in [
        ("banner", ""),
        ("main", ""),
        ("status", ""),
        ("heading", "Routes"),
        ("region", "Drains"),
        ("table", "Routes"),
        ("columnheader", "Sessions"),
        ("rowheader", "shop/chat"),
    ] {
        ensure!(has(role, name), "no {role} {name}: {told:#?}");
    }
    let unnamed: Vec<_> = told
        .iter()
        .filter(|(role, name)| {
            ["table", "region", "progressbar", "button", "textbox"].contains(&role.as_str())
                && name.is_empty()
        })
        .collect();
    ensure!(unnamed.is_empty(), "{unnamed:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_may_do_nothing_but_read() -> Result<()> {
    let scene = Scene::new(1, json!({"sessionKey": by_room()})).await?;
    let api = scene.clew.ready.api;
    let mut page = Browser::open(api).await?;
    page.sees("document.querySelector('#ready').textContent === '1 of 1'", SOON)
        .await?;
    // The positive control of the policy: a script that got in does not run, and nothing of elsewhere is loaded.
    for attempt in [
        "(() => { document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.hacked = 1'})); })()",
        "(() => { document.body.innerHTML = '<img src=x onerror=window.hacked=1>'; })()",
        "new Promise(done => { const frame = document.createElement('iframe'); frame.src = 'http://127.0.0.1:1/'; document.body.append(frame); done(); })",
    ] {
        let refused = page.evaluate(attempt).is_err();
        let noticed = page.sees("'hacked' in window", Duration::from_millis(300)).await;
        ensure!(noticed.is_err(), "{attempt} was run");
        ensure!(refused || !page.complaints().is_empty(), "{attempt} was let pass");
    }
    let elsewhere =
        page.evaluate("fetch('http://127.0.0.1:1/').then(() => 'answered', error => error.name)")?;
    ensure!(elsewhere == "TypeError", "{elsewhere}");
    // Its own origin can drain nothing.
    let drain = "fetch('/v1/drains', {method: 'POST', headers: {'x-clew-change': '1'}, body: '{\"backend\": \"chat-0\"}'}).then(answer => answer.status)";
    ensure!(page.evaluate(drain)? == 403);
    let drains: Value = serde_json::from_str(&http::get(api, "/v1/drains").await?)?;
    ensure!(drains == json!([]), "{drains}");
    Ok(())
}
