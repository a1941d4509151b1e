//! A drawing as SVG text.

#![forbid(unsafe_code)]

use super::drawing::{Drawing, Line, Style, Text};

/// Radius of a wire's corners, in pixels.
const CORNER: i32 = 4;

const LOOK: &str = "\
    text{font-family:ui-monospace,'DejaVu Sans Mono',Menlo,Consolas,monospace;fill:#1f2328}\n\
    text.b{font-weight:bold}\n\
    rect.pd{fill:#eef3fa;stroke:#3d5a80;stroke-width:1.3}\n\
    rect.odd{fill:#ffffff}\n\
    rect.region{fill:#e3f4ea;stroke:#2a7a4b;stroke-width:1.2}\n\
    path{fill:none}\n\
    path.notification{stroke:#6e7781;stroke-width:1.4}\n\
    path.call{stroke:#a5303d;stroke-width:2.2}\n\
    path.region{stroke:#2a7a4b;stroke-width:1.2}\n\
    path.nothing{stroke:#6e7781;stroke-width:1;stroke-dasharray:3 3}\n\
    path.head,circle{stroke:none}\n\
    .fn{fill:#6e7781}.fc{fill:#a5303d}.fr{fill:#2a7a4b}\n\
    text.notification,text.nothing{fill:#57606a}text.call{fill:#a5303d}text.region{fill:#1d5c37}\n";

fn class(style: Style) -> &'static str {
    match style {
        Style::Pd => "pd",
        Style::Region => "region",
        Style::Call => "call",
        Style::Notification => "notification",
        Style::Nothing => "nothing",
    }
}

fn fill(style: Style) -> &'static str {
    match style {
        Style::Call => "fc",
        Style::Region => "fr",
        _ => "fn",
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

pub(super) fn write(drawing: &Drawing) -> String {
    let Drawing { width, height, .. } = drawing;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" role=\"img\">\n<title>{}</title>\n<style>\n{LOOK}</style>\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n",
        escape(&drawing.title)
    );
    for frame in &drawing.frames {
        let area = frame.area;
        let (odd, radius) = match frame.style {
            Style::Region => ("", area.height.min(28) / 2),
            _ => (if frame.depth % 2 == 1 { " odd" } else { "" }, 5),
        };
        svg += &format!(
            "<rect class=\"{}{odd}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"{radius}\"><title>{}</title></rect>\n",
            class(frame.style),
            area.x,
            area.y,
            area.width,
            area.height,
            escape(&frame.words)
        );
    }
    // Calls last, on top of the others.
    let mut lines: Vec<&Line> = drawing.lines.iter().collect();
    lines.sort_by_key(|line| line.style == Style::Call);
    for line in lines {
        svg += &wire(line);
    }
    for text in &drawing.texts {
        svg += &words(text);
    }
    svg + "</svg>\n"
}

fn words(text: &Text) -> String {
    let bold = if text.bold { " b" } else { "" };
    format!(
        "<text class=\"{}{bold}\" x=\"{}\" y=\"{}\" font-size=\"{}\" text-anchor=\"middle\">{}</text>\n",
        class(text.style),
        text.area.x + text.area.width / 2,
        text.area.y + text.area.height,
        text.size,
        escape(&text.text)
    )
}

fn wire(line: &Line) -> String {
    let mut svg = format!(
        "<path class=\"{}\" d=\"{}\"><title>{}</title></path>\n",
        class(line.style),
        path(&line.points),
        escape(&line.words)
    );
    let ends =
        [(line.points.first(), line.points.get(1)), (line.points.last(), line.points.iter().nth_back(1))];
    for (head, (tip, from)) in line.heads.iter().zip(ends) {
        if let (Some(style), Some(&(x, y)), Some(&(from, _))) = (head, tip, from) {
            let back = if from < x { -1 } else { 1 };
            let (length, half) = if *style == Style::Call { (9, 5) } else { (7, 4) };
            svg += &format!(
                "<path class=\"head {}\" d=\"M{x} {y}l{} {}v{}z\"/>\n",
                fill(*style),
                back * length,
                -half,
                2 * half
            );
        }
    }
    for (x, y) in &line.dots {
        svg += &format!("<circle class=\"{}\" cx=\"{x}\" cy=\"{y}\" r=\"2.5\"/>\n", fill(line.style));
    }
    svg
}

/// Straight pieces with rounded corners.
fn path(points: &[(i32, i32)]) -> String {
    let mut path = String::new();
    for (at, &(x, y)) in points.iter().enumerate() {
        let before = at.checked_sub(1).map(|before| points[before]);
        match (before, points.get(at + 1)) {
            (None, _) => path += &format!("M{x} {y}"),
            (Some(_), None) => path += &format!("L{x} {y}"),
            (Some(before), Some(after)) => {
                let (from, to) = (towards((x, y), before), towards((x, y), *after));
                path += &format!("L{} {}Q{x} {y} {} {}", from.0, from.1, to.0, to.1);
            }
        }
    }
    path
}

/// The point [`CORNER`] pixels from `corner` on the way to `other`, or half-way where that is nearer.
fn towards(corner: (i32, i32), other: (i32, i32)) -> (f64, f64) {
    let part = |from: i32, to: i32| {
        let length = f64::from(to - from);
        f64::from(from)
            + length
                .clamp(-f64::from(CORNER), f64::from(CORNER))
                .clamp(-length.abs() / 2.0, length.abs() / 2.0)
    };
    (part(corner.0, other.0), part(corner.1, other.1))
}
