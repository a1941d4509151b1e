//! What one more PD, channel or region costs, as a picture: docs/costs.svg.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use mk_sandbox::bench::{Cpus, Harness, Size, Summary};

use crate::{Result, TemporaryDirectory, product};

/// Times that every point is measured; the picture has the median and the spread.
const REPETITIONS: usize = 7;

/// One curve: a number of things, and what it costs.
struct Curve {
    title: &'static str,
    across: &'static str,
    unit: &'static str,
    points: Vec<(usize, Summary)>,
}

/// Measures and writes the picture.
pub fn costs() -> Result<()> {
    let directory = TemporaryDirectory::new()?;
    let harness = Harness::new(product()?, directory.0.clone())?;
    let curves = [
        Curve {
            title: "start of a system, by its PDs",
            across: "PDs",
            unit: "ms",
            points: measure(&[1, 8, 16, 24, 32, 40, 48, 56, 63], |pds| Ok(harness.start_time(pds)?))?,
        },
        Curve {
            title: "call and reply, by the server's channels",
            across: "channels",
            unit: "ns",
            points: measure(&[1, 8, 16, 24, 32, 40, 48, 56, 62], |channels| {
                Ok(harness.calls(Cpus::Free, channels, Size::Full)?.few)
            })?,
        },
        Curve {
            title: "start of a system of one PD, by its regions",
            across: "regions",
            unit: "ms",
            points: measure(&[0, 250, 500, 750, 1000, 1250, 1500, 1750, 2000], |regions| {
                Ok(harness.start_time_with_regions(regions)?)
            })?,
        },
    ];
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/costs.svg");
    fs::write(&file, picture(&curves))?;
    for curve in &curves {
        if let [(first, least), .., (last, most)] = curve.points.as_slice() {
            let each = (most.median - least.median) / (last - first) as f64;
            println!("{}: {:.4} {} each", curve.title, each, curve.unit);
        }
    }
    Ok(())
}

/// Every point once, then every point again, so that a slow minute of the machine is no point's alone.
fn measure(counts: &[usize], time: impl Fn(usize) -> Result<f64>) -> Result<Vec<(usize, Summary)>> {
    let mut values = vec![Vec::new(); counts.len()];
    for _ in 0..REPETITIONS {
        for (count, values) in counts.iter().zip(&mut values) {
            values.push(time(*count)?);
        }
    }
    Ok(counts.iter().copied().zip(values.iter().filter_map(|values| Summary::of(values))).collect())
}

const WIDTH: f64 = 360.0;
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 56.0;
const TOP: f64 = 44.0;
const PANEL: f64 = WIDTH + LEFT + 24.0;

fn picture(curves: &[Curve]) -> String {
    let (width, height) = (PANEL * curves.len() as f64, TOP + HEIGHT + 52.0);
    let mut svg = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12" fill="#333">
<title>What one more PD, channel or region costs</title>
<rect width="100%" height="100%" fill="#fff"/>
"##
    );
    for (place, curve) in curves.iter().enumerate() {
        panel(&mut svg, PANEL * place as f64 + LEFT, curve);
    }
    svg + "</svg>\n"
}

fn panel(svg: &mut String, left: f64, curve: &Curve) {
    let most_across = curve.points.iter().map(|(count, _)| *count).max().unwrap_or(1).max(1) as f64;
    let most = nice(curve.points.iter().map(|(_, value)| value.most).fold(0.0, f64::max));
    let x = |count: f64| left + count / most_across * WIDTH;
    let y = |value: f64| TOP + HEIGHT - value / most * HEIGHT;
    let _ = writeln!(svg, r#"<text x="{left}" y="20" font-weight="bold">{}</text>"#, curve.title);
    for step in 0..=4 {
        let value = most * f64::from(step) / 4.0;
        let (line, right) = (y(value), left + WIDTH);
        let _ = writeln!(svg, r##"<path d="M{left} {line:.1}H{right}" stroke="#ddd"/>"##);
        let _ = writeln!(
            svg,
            r#"<text x="{:.1}" y="{:.1}" text-anchor="end">{value} {}</text>"#,
            left - 6.0,
            line + 4.0,
            curve.unit
        );
    }
    let mut path = String::new();
    for (index, (count, value)) in curve.points.iter().enumerate() {
        let (at, middle) = (x(*count as f64), y(value.median));
        let _ = write!(path, "{}{at:.1} {middle:.1}", if index == 0 { "M" } else { "L" });
        let (low, high) = (y(value.least), y(value.most));
        let _ = writeln!(svg, r##"<path d="M{at:.1} {low:.1}V{high:.1}" stroke="#9bc"/>"##);
        let _ = writeln!(svg, r##"<circle cx="{at:.1}" cy="{middle:.1}" r="3" fill="#258"/>"##);
        if index % 2 == 0 {
            let _ = writeln!(
                svg,
                r#"<text x="{at:.1}" y="{:.1}" text-anchor="middle">{count}</text>"#,
                TOP + HEIGHT + 18.0
            );
        }
    }
    let _ = writeln!(svg, r##"<path d="{path}" fill="none" stroke="#258" stroke-width="1.5"/>"##);
    let _ = writeln!(
        svg,
        r#"<text x="{:.1}" y="{:.1}" text-anchor="middle">{}; medians, least to most</text>"#,
        left + WIDTH / 2.0,
        TOP + HEIGHT + 38.0,
        curve.across
    );
}

/// The next of 1, 2, 4, 6, 8 times a power of ten: its quarters are short.
fn nice(value: f64) -> f64 {
    let power = 10f64.powf(value.max(1e-9).log10().floor());
    [1.0, 2.0, 4.0, 6.0, 8.0, 10.0]
        .into_iter()
        .map(|step| step * power)
        .find(|step| *step >= value)
        .unwrap_or(value)
}
