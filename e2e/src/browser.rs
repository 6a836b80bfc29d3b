//! A real Chromium without windows, as `e2e/tools/install-chromium.sh` fetches it, driven over the DevTools protocol: what a person sees of a page,
//! and the keys that they press.

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tempfile::TempDir;
use tungstenite::{Message, WebSocket};

use crate::daemon::Daemon;
use crate::{http, wait};

/// For whatever a browser does.
const PATIENCE: Duration = Duration::from_secs(20);

/// A browser with one page, killed when dropped.
///
/// Its commands block: a browser answers within milliseconds.
#[derive(Debug)]
pub struct Browser {
    _daemon: Daemon,
    _folder: TempDir,
    socket: WebSocket<TcpStream>,
    commands: u64,
    complaints: Vec<String>,
}

impl Browser {
    /// Opens the page at `/` of an address.
    ///
    /// # Errors
    /// When Chromium is not there (`CLEW_CHROMIUM`), or does not start.
    pub async fn open(server: SocketAddr) -> Result<Self> {
        let folder = TempDir::new()?;
        let profile = folder.path().join("profile");
        let mut command = Command::new(program()?);
        command
            .args([
                "--headless",
                "--disable-gpu",
                "--hide-scrollbars",
                "--remote-debugging-port=0",
            ])
            // Tests run as root and in namespaces, where its sandbox cannot be made; what it opens is ours.
            .args([
                "--no-sandbox",
                "--disable-dev-shm-usage",
                "--disable-background-networking",
            ])
            // No name leads anywhere: a page that needs the internet fails.
            .arg(format!(
                "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE {}, EXCLUDE 127.0.0.1",
                server.ip()
            ))
            .arg(format!("--user-data-dir={}", profile.display()))
            .arg("about:blank");
        let mut daemon = Daemon::start("chromium", &mut command, folder.path())?;
        let port_file = profile.join("DevToolsActivePort");
        let address = daemon
            .until("where it is driven from", PATIENCE, async || {
                let port = std::fs::read_to_string(&port_file).ok()?;
                Some(SocketAddr::from((
                    [127, 0, 0, 1],
                    port.lines().next()?.parse().ok()?,
                )))
            })
            .await?;
        let target = wait::until("its page", PATIENCE, async || {
            let targets = http::get(address, "/json/list").await.ok()?;
            let targets: Value = serde_json::from_str(&targets).ok()?;
            let page = targets
                .as_array()?
                .iter()
                .find(|target| target["type"] == "page")?;
            Some(page["webSocketDebuggerUrl"].as_str()?.to_owned())
        })
        .await?;
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let (socket, _) = tungstenite::client(target, stream)?;
        let mut browser = Self {
            _daemon: daemon,
            _folder: folder,
            socket,
            commands: 0,
            complaints: Vec::new(),
        };
        for domain in ["Log", "Runtime", "Page", "Accessibility"] {
            browser.command(&format!("{domain}.enable"), json!({}))?;
        }
        browser.looks(1280, 900, "light")?;
        browser.command("Page.navigate", json!({"url": format!("http://{server}/")}))?;
        Ok(browser)
    }

    /// One command of the protocol, and its result.
    ///
    /// # Errors
    /// When the browser refuses it, or says nothing.
    pub fn command(&mut self, method: &str, params: Value) -> Result<Value> {
        self.commands += 1;
        let id = self.commands;
        let command = json!({"id": id, "method": method, "params": params});
        self.socket.send(Message::text(command.to_string()))?;
        loop {
            let message = self
                .socket
                .read()
                .with_context(|| format!("{method}: no answer"))?;
            let mut message: Value = serde_json::from_str(message.to_text()?)?;
            if message["id"] != id {
                self.note(&message);
            } else if message["error"].is_null() {
                return Ok(message["result"].take());
            } else {
                bail!("{method}: {}", message["error"]);
            }
        }
    }

    /// What the page, or its policy, complains of.
    fn note(&mut self, event: &Value) {
        match event["method"].as_str() {
            Some("Runtime.exceptionThrown") => {
                self.complaints
                    .push(event["params"]["exceptionDetails"].to_string());
            }
            Some("Log.entryAdded") if event["params"]["entry"]["level"] == "error" => {
                self.complaints.push(event["params"]["entry"].to_string());
            }
            _ => {}
        }
    }

    /// All that went wrong in the page so far: exceptions, what its policy kept from it, and requests that failed.
    pub fn complaints(&self) -> &[String] {
        &self.complaints
    }

    /// What an expression is in the page.
    ///
    /// # Errors
    /// When it throws.
    pub fn evaluate(&mut self, expression: &str) -> Result<Value> {
        let params = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let mut answer = self.command("Runtime.evaluate", params)?;
        if !answer["exceptionDetails"].is_null() {
            bail!("{expression}: {}", answer["exceptionDetails"]);
        }
        Ok(answer["result"]["value"].take())
    }

    /// Waits until an expression is true.
    ///
    /// # Errors
    /// When it does not become so in time; the error holds what is to be read on the page.
    pub async fn sees(&mut self, expression: &str, limit: Duration) -> Result<()> {
        let seen = wait::until(expression, limit, async || {
            let is = self.evaluate(expression).ok()?;
            (is == true).then_some(())
        });
        match seen.await {
            Ok(()) => Ok(()),
            Err(error) => Err(error.context(self.text()?)),
        }
    }

    /// What is to be read on the page.
    ///
    /// # Errors
    /// When there is no page.
    pub fn text(&mut self) -> Result<String> {
        let text = self.evaluate("document.body.innerText")?;
        Ok(text.as_str().unwrap_or_default().to_owned())
    }

    /// So many pixels, in these colours: `light` or `dark`.
    ///
    /// # Errors
    /// When the browser refuses.
    pub fn looks(&mut self, width: u32, height: u32, colours: &str) -> Result<()> {
        let metrics = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.command("Emulation.setDeviceMetricsOverride", metrics)?;
        let features = json!([{"name": "prefers-color-scheme", "value": colours}]);
        self.command("Emulation.setEmulatedMedia", json!({"features": features}))?;
        Ok(())
    }

    /// Presses and releases a key, such as `Tab`, `Enter`.
    ///
    /// # Errors
    /// When the browser refuses.
    pub fn presses(&mut self, key: &str, code: u32, text: &str) -> Result<()> {
        for kind in ["keyDown", "keyUp"] {
            let mut params = json!({"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code});
            if kind == "keyDown" && !text.is_empty() {
                params["text"] = json!(text);
            }
            self.command("Input.dispatchKeyEvent", params)?;
        }
        Ok(())
    }

    /// Types into what has the focus.
    ///
    /// # Errors
    /// When the browser refuses.
    pub fn types(&mut self, text: &str) -> Result<()> {
        self.command("Input.insertText", json!({"text": text}))?;
        Ok(())
    }

    /// Role and name of everything that assistive technology is told of.
    ///
    /// # Errors
    /// When the browser refuses.
    pub fn accessible(&mut self) -> Result<Vec<(String, String)>> {
        let tree = self.command("Accessibility.getFullAXTree", json!({}))?;
        let nodes = tree["nodes"].as_array().context("nodes")?.iter();
        let of = |value: &Value| value["value"].as_str().unwrap_or_default().to_owned();
        let told = nodes.filter(|node| node["ignored"] == false);
        Ok(told.map(|node| (of(&node["role"]), of(&node["name"]))).collect())
    }

    /// A picture of all of the page, as PNG.
    ///
    /// # Errors
    /// When none can be taken.
    pub fn picture(&mut self, path: &Path) -> Result<()> {
        let params = json!({"format": "png", "captureBeyondViewport": true});
        let picture = self.command("Page.captureScreenshot", params)?;
        let data = picture["data"].as_str().context("a picture")?;
        std::fs::write(path, data_encoding::BASE64.decode(data.as_bytes())?)?;
        Ok(())
    }
}

fn program() -> Result<PathBuf> {
    let folder = std::env::var_os("CLEW_CHROMIUM").context(
        "CLEW_CHROMIUM does not say where Chromium is: CLEW_CHROMIUM=$(e2e/tools/install-chromium.sh)",
    )?;
    Ok(Path::new(&folder).join("chromium-headless-shell"))
}
