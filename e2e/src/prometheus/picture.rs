//! What a dashboard shows, drawn from what a Prometheus has: each panel where the dashboard has it, a line a series.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result};
use plotters::backend::SVGBackend;
use plotters::chart::{ChartBuilder, SeriesLabelPosition};
use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, IntoDrawingArea};
use plotters::element::PathElement;
use plotters::series::LineSeries;
use plotters::style::{Color, RGBColor, WHITE};
use serde_json::Value;

use super::Prometheus;

const WIDTH: u32 = 1040;
const PANEL: u32 = 230;
const INK: RGBColor = RGBColor(0x1c, 0x19, 0x17);
const FAINT: RGBColor = RGBColor(0xe7, 0xe5, 0xe4);
/// Told apart by everybody (Okabe and Ito, 2008).
const COLOURS: [RGBColor; 7] = [
    RGBColor(0x00, 0x72, 0xb2),
    RGBColor(0xd5, 0x5e, 0x00),
    RGBColor(0x00, 0x9e, 0x73),
    RGBColor(0xcc, 0x79, 0xa7),
    RGBColor(0xe6, 0x9f, 0x00),
    RGBColor(0x56, 0xb4, 0xe9),
    RGBColor(0x1c, 0x19, 0x17),
];
/// Over how much a rate is taken: it is asked every second.
const RATE: &str = "10s";

/// A series: what it is called, and seconds with values.
type Line = (String, Vec<(f64, f64)>);

/// Which stretch of time is drawn.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    /// Seconds since 1970.
    pub from: f64,
    /// As many later.
    pub seconds: f64,
}

/// Draws a dashboard's file for all jobs and instances, and for this route where it asks for one.
///
/// # Errors
/// When it is no dashboard, or Prometheus does not answer a query.
pub async fn draw(prometheus: &Prometheus, board: &Path, route: &str, span: Span, to: &Path) -> Result<()> {
    let text = std::fs::read_to_string(board).with_context(|| board.display().to_string())?;
    let board: Value = serde_json::from_str(&text)?;
    let panels = board["panels"].as_array().context("panels")?;
    let mut drawn = Vec::new();
    for panel in panels {
        let mut lines = Vec::new();
        for target in panel["targets"].as_array().context("targets")? {
            lines.extend(asked(prometheus, &board, target, route, span).await?);
        }
        drawn.push((panel, lines));
    }
    let rows = drawn.len().div_ceil(2);
    let height = PANEL * u32::try_from(rows)?;
    let canvas = SVGBackend::new(to, (WIDTH, height)).into_drawing_area();
    canvas.fill(&WHITE)?;
    for (cell, (panel, lines)) in canvas.split_evenly((rows, 2)).iter().zip(&drawn) {
        let title = panel["title"].as_str().context("a title")?;
        let unit = panel["fieldConfig"]["defaults"]["unit"]
            .as_str()
            .unwrap_or_default();
        chart(cell, title, unit, lines, span)?;
    }
    canvas.present()?;
    Ok(())
}

async fn asked(
    prometheus: &Prometheus,
    board: &Value,
    target: &Value,
    route: &str,
    span: Span,
) -> Result<Vec<Line>> {
    let mut query = target["expr"]
        .as_str()
        .context("a query")?
        .replace("$__rate_interval", RATE);
    for variable in board["templating"]["list"].as_array().context("variables")? {
        let name = variable["name"].as_str().context("a name")?;
        query = query.replace(
            &format!("${name}"),
            variable["allValue"].as_str().unwrap_or(route),
        );
    }
    let legend = target["legendFormat"].as_str().unwrap_or_default();
    let mut lines = Vec::new();
    for (labels, points) in prometheus.range(&query, span.from, span.seconds).await? {
        let mut name = legend.to_owned();
        for (label, value) in labels.as_object().into_iter().flatten() {
            name = name.replace(&format!("{{{{{label}}}}}"), value.as_str().unwrap_or_default());
        }
        let points = points.into_iter().filter(|(_, value)| value.is_finite());
        lines.push((name, points.map(|(at, value)| (at - span.from, value)).collect()));
    }
    Ok(lines)
}

fn chart(
    cell: &DrawingArea<SVGBackend<'_>, Shift>,
    title: &str,
    unit: &str,
    lines: &[Line],
    span: Span,
) -> Result<()> {
    let values = || {
        lines
            .iter()
            .flat_map(|(_, points)| points)
            .map(|(_, value)| *value)
    };
    let most = values().fold(0.0, f64::max);
    let top = if most > 0.0 { most * 1.15 } else { 1.0 };
    let mut chart = ChartBuilder::on(cell)
        .margin(12)
        .caption(title, ("sans-serif", 15, &INK))
        .x_label_area_size(22)
        .y_label_area_size(52)
        .build_cartesian_2d(0.0..span.seconds, 0.0..top)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(WHITE)
        .bold_line_style(FAINT)
        .axis_style(FAINT)
        .label_style(("sans-serif", 11, &INK))
        .x_labels(7)
        .y_labels(5)
        .x_label_formatter(&|at| format!("{at:.0} s"))
        .y_label_formatter(&|value| written(*value, unit))
        .draw()?;
    for ((name, points), colour) in lines.iter().zip(COLOURS.iter().cycle()) {
        let series = LineSeries::new(points.iter().copied(), colour.stroke_width(2));
        chart
            .draw_series(series)?
            .label(name.clone())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 14, y)], colour.stroke_width(2)));
    }
    let names: BTreeSet<_> = lines.iter().map(|(name, _)| name).collect();
    if !names.is_empty() {
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .label_font(("sans-serif", 11, &INK))
            .background_style(WHITE.mix(0.8))
            .draw()?;
    }
    Ok(())
}

/// As Grafana writes a value of this unit.
fn written(value: f64, unit: &str) -> String {
    let digits = usize::from(value.fract() != 0.0) + usize::from(value.abs() < 1.0 && value.fract() != 0.0);
    match unit {
        "ops" => format!("{value:.digits$}/s"),
        "percentunit" => format!("{:.0} %", value * 100.0),
        "ms" | "s" => format!("{value:.digits$} {unit}"),
        "Bps" if value >= 1000.0 => format!("{:.0} kB/s", value / 1000.0),
        "Bps" => format!("{value:.0} B/s"),
        _ => format!("{value:.digits$}"),
    }
}
