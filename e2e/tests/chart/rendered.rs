//! What helm makes of the chart, without a cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clew_e2e::chart::{self, folder};
use serde_json::{Value, json};

/// As every release has it.
const IMAGE: &str = "--set=image.repository=registry.example.com/clew";
/// Maps with keys of the user's own.
const FREE: [&str; 3] = [".nodeSelector", ".podLabels", ".labels"];
/// Of Prometheus' operator.
const PROMETHEUS: [&str; 3] = ["ServiceMonitor", "PodMonitor", "PrometheusRule"];

/// The files of a folder with this ending, by what their names begin with.
fn files(folder: &Path, ending: &str) -> Result<BTreeMap<String, PathBuf>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        if let Some(name) = name.strip_suffix(ending) {
            found.insert(name.to_owned(), path.clone());
        }
    }
    Ok(found)
}

/// What a case's values become. A line `# helm: …` in its file tells helm more.
async fn case(values: &Path) -> Result<String> {
    let text = fs::read_to_string(values)?;
    let told = text.lines().filter_map(|line| line.strip_prefix("# helm: "));
    let mut arguments: Vec<OsString> = vec!["--values".into(), values.into()];
    arguments.extend(told.flat_map(str::split_whitespace).map(OsString::from));
    chart::rendered(arguments).await
}

/// Every value that there is, as a path.
fn paths(values: &Value, before: &str, found: &mut BTreeSet<String>) {
    match values.as_object() {
        // What is in there is the user's.
        Some(fields) if !fields.is_empty() && !FREE.iter().any(|free| before.ends_with(free)) => {
            for (name, value) in fields {
                paths(value, &format!("{before}.{name}"), found);
            }
        }
        _ => drop(found.insert(before.to_owned())),
    }
}

#[tokio::test]
async fn values_become_what_the_golden_files_say() -> Result<()> {
    let cases = files(&folder("tests"), ".values.yaml")?;
    ensure!(cases.len() >= 3, "{cases:?}");
    for (name, values) in cases {
        // Of empty lines Helm 3 writes other ones than Helm 4.
        let becomes = case(&values).await?;
        let lines = becomes.lines().filter(|line| !line.is_empty());
        let becomes: String = lines.map(|line| format!("{line}\n")).collect();
        let golden = folder("tests").join(format!("{name}.golden.yaml"));
        if std::env::var("CLEW_GOLDEN").is_ok_and(|how| how == "rewrite") {
            fs::write(golden, becomes)?;
            continue;
        }
        let expected = fs::read_to_string(&golden).unwrap_or_default();
        let differs = expected.lines().zip(becomes.lines()).position(|(a, b)| a != b);
        ensure!(
            expected == becomes,
            "{name}.values.yaml becomes something else than {name}.golden.yaml, from line {:?} on: read what `make golden` changes",
            differs.map(|at| at + 1)
        );
    }
    Ok(())
}

#[tokio::test]
async fn what_is_rendered_is_what_each_version_of_kubernetes_takes() -> Result<()> {
    let versions = files(&folder("tests/schemas"), ".json")?;
    let read = |path: &PathBuf| -> Result<Value> { Ok(serde_json::from_str(&fs::read_to_string(path)?)?) };
    let monitors = versions
        .iter()
        .find(|(name, _)| name.starts_with("prometheus-operator"));
    let monitors = read(monitors.context("no schemas of Prometheus' kinds")?.1)?;
    let minors: Vec<_> = versions
        .iter()
        .filter_map(|(name, path)| Some((name.strip_prefix("kubernetes-")?, path)))
        .collect();
    let known: Vec<_> = minors
        .iter()
        .filter_map(|(name, _)| name.rsplit_once('.'))
        .map(|(minor, _)| minor)
        .collect();
    ensure!(
        known == ["v1.33", "v1.34", "v1.35", "v1.36", "v1.37"],
        "{known:?}"
    );
    let mut rendered = Vec::new();
    for values in files(&folder("tests"), ".values.yaml")?.values() {
        rendered.extend(chart::objects(&case(values).await?)?);
    }
    rendered.extend(chart::objects(&everything_carried().await?)?);
    for (version, path) in minors {
        let schemas = read(path)?;
        let mut validators = BTreeMap::new();
        for object in &rendered {
            let kind = format!("{}/{}", object["apiVersion"], object["kind"]).replace('"', "");
            if !validators.contains_key(&kind) {
                validators.insert(kind.clone(), validator(&kind, [&schemas, &monitors])?);
            }
            if let Err(error) = validators[&kind].validate(object) {
                bail!(
                    "{kind} {} is not what Kubernetes {version} takes, at {}: {error}",
                    object["metadata"]["name"],
                    error.instance_path()
                );
            }
        }
        // One that takes anything says nothing.
        let mut other = rendered
            .iter()
            .find(|object| object["kind"] == "Deployment")
            .context("a Deployment")?
            .clone();
        other["spec"]["template"]["spec"]["containers"][0]["arguments"] = json!(["controller"]);
        ensure!(
            !validators["apps/v1/Deployment"].is_valid(&other),
            "an unknown field is taken"
        );
    }
    Ok(())
}

fn validator(kind: &str, schemas: [&Value; 2]) -> Result<jsonschema::Validator> {
    let of_kind = schemas
        .into_iter()
        .find_map(|schemas| Some((schemas["kinds"][kind].as_str()?, schemas)));
    let (name, schemas) =
        of_kind.with_context(|| format!("there is no schema of {kind}: let capture.py know it"))?;
    let schema = json!({"$ref": format!("#/definitions/{name}"), "definitions": schemas["definitions"]});
    Ok(jsonschema::draft4::new(&schema)?)
}

/// With all that the chart carries in files of their own.
async fn everything_carried() -> Result<String> {
    let known = PROMETHEUS.map(|kind| format!("--api-versions=monitoring.coreos.com/v1/{kind}"));
    let told = [IMAGE, "--set=monitoring.dashboards.enabled=true"].map(str::to_owned);
    chart::rendered(known.into_iter().chain(told)).await
}

#[tokio::test]
async fn kinds_alerts_and_dashboards_are_carried_whole() -> Result<()> {
    let objects = chart::objects(&everything_carried().await?)?;
    let of_kind = |kind: &str| {
        objects
            .iter()
            .filter(|object| object["kind"] == kind)
            .collect::<Vec<_>>()
    };
    let read = |path: &PathBuf| -> Result<Value> { Ok(serde_saphyr::from_str(&fs::read_to_string(path)?)?) };

    let kinds = files(&folder("../crds"), ".yaml")?;
    ensure!(!kinds.is_empty() && of_kind("CustomResourceDefinition").len() == kinds.len());
    for path in kinds.values() {
        let mut expected = read(path)?;
        expected["metadata"]["annotations"] = json!({"helm.sh/resource-policy": "keep"});
        ensure!(
            of_kind("CustomResourceDefinition").contains(&&expected),
            "{} is not carried: run make generate",
            path.display()
        );
    }
    let alerts = files(&folder("clew/alerts"), ".yaml").unwrap_or_default();
    ensure!(of_kind("PrometheusRule").len() == alerts.len());
    for path in alerts.values() {
        let expected = read(path)?;
        ensure!(
            of_kind("PrometheusRule")
                .iter()
                .any(|object| object["spec"] == expected),
            "{} is not carried",
            path.display()
        );
    }
    let dashboards = files(&folder("clew/dashboards"), ".json").unwrap_or_default();
    ensure!(of_kind("ConfigMap").len() == dashboards.len());
    for (name, path) in dashboards {
        let expected: Value = serde_json::from_str(&fs::read_to_string(&path)?)?;
        let is_same = |object: &&Value| {
            let text = object["data"][format!("{name}.json")].as_str();
            text.and_then(|text| serde_json::from_str::<Value>(text).ok())
                .is_some_and(|carried| carried == expected)
        };
        ensure!(
            of_kind("ConfigMap").iter().any(is_same),
            "{} is not carried",
            path.display()
        );
    }
    Ok(())
}

#[tokio::test]
async fn helm_finds_nothing_to_complain_of_and_refuses_a_value_that_is_none() -> Result<()> {
    let chart = folder("clew");
    let linted = chart::helm([
        "lint".as_ref(),
        "--strict".as_ref(),
        chart.as_os_str(),
        IMAGE.as_ref(),
    ])
    .await?;
    linted.success()?;
    for (wrong, said) in [
        ("--set=image.repositry=x", "repositry"),
        ("--set=replicas=0", "replicas"),
        ("--set=monitoring.podMonitor.interval=often", "interval"),
        ("--set=service.port=0", "port"),
    ] {
        let refusal = chart::rendered([IMAGE, wrong]).await;
        let refusal = format!(
            "{:#}",
            refusal.err().with_context(|| format!("{wrong} is taken"))?
        );
        ensure!(refusal.contains(said), "{wrong}: {refusal}");
    }
    let unset = chart::rendered(std::iter::empty::<&str>()).await;
    let unset = format!("{:#}", unset.err().context("no image is taken for one")?);
    ensure!(unset.contains("--set image.repository="), "{unset}");
    Ok(())
}

/// The schema, the comments and the golden values know the same values as `values.yaml`.
#[test]
fn every_value_is_explained_checked_and_tried() -> Result<()> {
    let text = fs::read_to_string(folder("clew/values.yaml"))?;
    let values: Value = serde_saphyr::from_str(&text)?;
    let (mut all, mut tried) = (BTreeSet::new(), BTreeSet::new());
    paths(&values, "", &mut all);
    for path in files(&folder("tests"), ".values.yaml")?.values() {
        paths(
            &serde_saphyr::from_str(&fs::read_to_string(path)?)?,
            "",
            &mut tried,
        );
    }
    for value in &all {
        let is_tried = tried.iter().any(|path| {
            path == value || path.starts_with(&format!("{value}.")) || value.starts_with(&format!("{path}."))
        });
        let is_carried = ["rules", "dashboards"]
            .iter()
            .any(|of| value.starts_with(&format!(".monitoring.{of}.")));
        let is_true_everywhere = [
            ".rbac.create",
            ".monitoring.serviceMonitor.enabled",
            ".monitoring.podMonitor.enabled",
        ]
        .contains(&value.as_str());
        ensure!(
            is_tried || is_carried || is_true_everywhere,
            "no golden file shows {value}"
        );
    }
    // A section, or right below its comment, or further in than that.
    let (mut before, mut explained) = ("", usize::MAX);
    for line in text.lines() {
        let indentation = line.len() - line.trim_start().len();
        if line.trim_start().starts_with('#') {
            // It explains what comes.
        } else if before.trim_start().starts_with("# --") {
            explained = indentation;
        } else if indentation <= explained && line.contains(':') {
            ensure!(line.ends_with(':'), "{line} is not explained");
            explained = usize::MAX;
        }
        before = line;
    }
    Ok(())
}
