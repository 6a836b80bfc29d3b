//! What the guide shows of `kubectl` is what `kubectl` prints.

use anyhow::{Context, Result, ensure};

use super::alone;
use super::shop::Shop;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_prints_what_the_guide_shows() -> Result<()> {
    let (mesh, _controller) = alone().await?;
    let shop = Shop::open(mesh, "guide").await?;
    let guide = include_str!("../../../../docs/guide/cluster.md");
    let shown = guide
        .split("```console\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .context("the guide shows nothing")?;
    // The guide's own example is another sentence's.
    let shown = shown
        .replace("-n shop", "-n guide")
        .replace("chat.example.com", "guide.example.com");
    let mut commands = 0;
    for part in shown.split("$ kubectl ").skip(1) {
        let (command, expected) = part.split_once('\n').context("a command and its output")?;
        let output = mesh.cluster.kubectl(command.split_whitespace()).await?;
        let printed = output.success()?;
        ensure!(
            words(printed) == words(expected),
            "kubectl {command} prints\n{printed}\nand the guide shows\n{expected}"
        );
        commands += 1;
    }
    ensure!(commands == 3, "{commands} commands");
    shop.close().await
}

/// Without what is of the moment: how wide columns are, and how old something is.
fn words(text: &str) -> Vec<&str> {
    let is_age = |word: &str| {
        word.len() < 6 && word.ends_with(['s', 'm']) && word.starts_with(|c: char| c.is_ascii_digit())
    };
    text.split_whitespace().filter(|word| !is_age(word)).collect()
}
