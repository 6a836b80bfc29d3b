//! The same figures as bars.

use std::path::Path;

use anyhow::Result;
use clew_e2e::side_by_side::{Outcome, Way};
use plotters::backend::SVGBackend;
use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, IntoDrawingArea};
use plotters::element::{Rectangle, Text};
use plotters::style::{Color, FontStyle, IntoFont, RGBColor, TextStyle, WHITE};

use super::costs::{CARRIERS, Costs};
use super::{PROPERTIES, rooms};

const CLEW: RGBColor = RGBColor(0x0f, 0x76, 0x6e);
const OTHERS: RGBColor = RGBColor(0xa8, 0xa2, 0x9e);
const INK: RGBColor = RGBColor(0x1c, 0x19, 0x17);
const WIDTH: i32 = 960;
const PANEL: i32 = WIDTH / 3;
const MARGIN: i32 = 14;
const LABEL: i32 = 128;
const BAR: i32 = 14;
const ROW: i32 = 20;
const TITLE: i32 = 34;
/// Of the properties, those whose bars say something.
const DRAWN: [&str; 3] = ["moved", "orderly", "peak"];

/// A bar: whose, how long, and what is written beside it.
struct Bar {
    label: String,
    value: f64,
    is_clew: bool,
}

type Canvas<'c> = DrawingArea<SVGBackend<'c>, Shift>;

pub(super) fn draw(file: &Path, outcomes: &[(Way, Outcome, Outcome)], costs: &[Costs]) -> Result<()> {
    let rows = i32::try_from(2 * outcomes.len())?;
    let above = TITLE + ROW * 4 + 2 * MARGIN;
    let height = above + TITLE + ROW * rows + 2 * MARGIN;
    let size = (u32::try_from(WIDTH)?, u32::try_from(height)?);
    let canvas = SVGBackend::new(file, size).into_drawing_area();
    canvas.fill(&WHITE)?;
    for (column, cost) in (0..).zip(costs) {
        let bars: Vec<Bar> = CARRIERS
            .into_iter()
            .zip(cost.each)
            .map(|(name, value)| Bar {
                label: name.to_owned(),
                value,
                is_clew: name == "Clew",
            })
            .collect();
        let title = format!("{}, {}", cost.what, cost.unit);
        panel(&canvas, (column * PANEL, MARGIN), &title, &bars)?;
    }
    let drawn = PROPERTIES.iter().filter(|property| DRAWN.contains(&property.id));
    for (column, property) in (0..).zip(drawn) {
        let bars: Vec<Bar> = outcomes
            .iter()
            .flat_map(|(way, before, after)| {
                let original = Bar {
                    label: way.id.to_owned(),
                    value: (property.of)(before),
                    is_clew: false,
                };
                let clew = Bar {
                    label: "Clew".to_owned(),
                    value: (property.of)(after),
                    is_clew: true,
                };
                [original, clew]
            })
            .collect();
        let title = match property.id {
            "moved" => "keys moved ÷ minimum",
            "orderly" => "drained sessions with a Close, %",
            _ => "busiest tenth of a drain ÷ evenly",
        };
        panel(&canvas, (column * PANEL, above), title, &bars)?;
    }
    canvas.present()?;
    Ok(())
}

/// Rooms with something between their servers.
pub(super) fn draw_rooms(file: &Path, rooms: &[rooms::Compared]) -> Result<()> {
    let rows = i32::try_from(2 * rooms.len())?;
    let size = (
        u32::try_from(WIDTH)?,
        u32::try_from(TITLE + ROW * rows + 2 * MARGIN)?,
    );
    let canvas = SVGBackend::new(file, size).into_drawing_area();
    canvas.fill(&WHITE)?;
    let drawn = rooms::PROPERTIES
        .iter()
        .filter_map(|property| Some((property, title(property.id)?)));
    for (column, (property, title)) in (0..).zip(drawn) {
        let bars: Vec<Bar> = rooms
            .iter()
            .flat_map(|one| {
                let bar = |label: String, side: &[_], is_clew| Bar {
                    label,
                    value: (property.of)(side),
                    is_clew,
                };
                [
                    bar(format!("NGINX, {}", one.store.name()), &one.in_turn, false),
                    bar("Clew".to_owned(), &one.by_room, true),
                ]
            })
            .collect();
        panel(&canvas, (column * PANEL, MARGIN), title, &bars)?;
    }
    canvas.present()?;
    Ok(())
}

/// Of rooms, those properties whose bars say something.
fn title(id: &str) -> Option<&'static str> {
    match id {
        "reconnects" => Some("busiest tenth of a restart ÷ evenly"),
        "cpu" => Some("CPU per message heard, µs"),
        "median" => Some("until half are heard, ms"),
        _ => None,
    }
}

fn panel(canvas: &Canvas<'_>, (left, top): (i32, i32), title: &str, bars: &[Bar]) -> Result<()> {
    let style = |size: i32, weight| -> TextStyle<'_> { ("sans-serif", size, weight).into_font().color(&INK) };
    let heading = style(14, FontStyle::Bold);
    canvas.draw(&Text::new(title.to_owned(), (left + MARGIN, top), heading))?;
    let longest = bars.iter().map(|bar| bar.value).fold(f64::MIN_POSITIVE, f64::max);
    let room = f64::from(PANEL - 2 * MARGIN - LABEL - 48);
    let mut y = top + TITLE - ROW / 2;
    for bar in bars {
        let plain = style(12, FontStyle::Normal);
        canvas.draw(&Text::new(bar.label.clone(), (left + MARGIN, y), plain.clone()))?;
        let from = left + MARGIN + LABEL;
        // Whole pixels.
        let to = from + (bar.value / longest * room).round().max(1.0) as i32;
        let color = if bar.is_clew { CLEW } else { OTHERS };
        canvas.draw(&Rectangle::new([(from, y), (to, y + BAR)], color.filled()))?;
        let number = match bar.value {
            value if value >= 10.0 => format!("{value:.0}"),
            value => format!("{value:.2}"),
        };
        canvas.draw(&Text::new(number, (to + 4, y), plain))?;
        y += ROW;
    }
    Ok(())
}
