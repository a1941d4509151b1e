//! Everything of the SVG with its place: frames, texts, lines.

#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};

use super::columns::{self, Size};
use super::diagram::{Block, Diagram, Head, Kind};
use super::route::{Joint, tracks};
use super::rows::{ROW, Rows, head_height, tree};
use super::short;
use crate::report::words::{bytes, count, printable};
use crate::sdf::{PdIndex, System};

/// A rectangle, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area {
    /// Left edge.
    pub x: i32,
    /// Top edge.
    pub y: i32,
    /// Pixels.
    pub width: i32,
    /// Pixels.
    pub height: i32,
}

/// What a frame or a line stands for, which decides its look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Style {
    /// A PD.
    Pd,
    /// A region, and its wires.
    Region,
    /// A channel with calls.
    Call,
    /// A channel with notifications only.
    Notification,
    /// A channel nobody can use.
    Nothing,
}

/// A box.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Where.
    pub area: Area,
    /// [`Style::Pd`] or [`Style::Region`].
    pub style: Style,
    /// 0 outside, 1 in a parent, and so on.
    pub depth: usize,
    /// The tooltip.
    pub words: String,
}

/// A line of text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// What it covers; letters are not wider than that in a monospaced font.
    pub area: Area,
    /// What it says.
    pub text: String,
    /// Height of the letters, in pixels.
    pub size: i32,
    /// A name.
    pub bold: bool,
    /// Of what the text is.
    pub style: Style,
}

/// Connected straight pieces of one net, each horizontal or vertical.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// What it is.
    pub style: Style,
    /// Corners, two at least.
    pub points: Vec<(i32, i32)>,
    /// Index of the channel or region: pieces of one net may touch.
    pub net: usize,
    /// Whether a call or a notification arrives at the first and at the last point.
    pub heads: [Option<Style>; 2],
    /// Where the net branches.
    pub dots: Vec<(i32, i32)>,
    /// The tooltip.
    pub words: String,
}

/// A picture.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drawing {
    /// The tooltip of the whole.
    pub title: String,
    /// Pixels.
    pub width: i32,
    /// Pixels.
    pub height: i32,
    /// Parents before their children.
    pub frames: Vec<Frame>,
    /// Names, remarks, ids, rights.
    pub texts: Vec<Text>,
    /// Wires.
    pub lines: Vec<Line>,
}

const MARGIN: i32 = 20;
/// Title and legend.
const TOP: i32 = 70;
/// Beside a column, for ids, rights and arrows.
const LABELS: i32 = 34;
/// Between two tracks.
const TRACK: i32 = 10;
/// Between a child and its parent's edge.
const INSET: i32 = 12;
const NAME_SIZE: i32 = 13;
const REMARK_SIZE: i32 = 11;
const LABEL_SIZE: i32 = 10;

/// Pixels of a text: monospaced letters are 0.6 of their height wide, or a little more; letters from beyond ASCII may be
/// twice as wide.
fn text_width(text: &str, size: i32) -> i32 {
    let cells: i32 =
        text.chars().map(|character| if character.is_ascii() || character == '…' { 1 } else { 2 }).sum();
    (cells * size * 62 + 99) / 100
}

/// What stands below a PD's name.
fn remark(system: &System, pd: PdIndex) -> String {
    let pd = system.pd(pd);
    let mut words = vec![format!("priority {}", pd.priority)];
    words.extend(pd.cpu.map(|cpu| format!("CPU {cpu}")));
    words.extend(pd.passive.then(|| "passive".to_owned()));
    words.extend(pd.parent.map(|(_, id)| format!("child {id}")));
    words.join(", ")
}

fn region_words(system: &System, region: crate::sdf::RegionIndex) -> String {
    let region = system.region(region);
    format!("{} {}", short(&region.name), bytes(region.size))
}

fn head_width(system: &System, pd: PdIndex) -> i32 {
    let name = text_width(&short(&system.pd(pd).name), NAME_SIZE);
    name.max(text_width(&remark(system, pd), REMARK_SIZE)) + 2 * INSET
}

fn block_width(system: &System, block: Block) -> i32 {
    match block {
        Block::Region(region) => text_width(&region_words(system, region), REMARK_SIZE) + 2 * INSET,
        Block::Tree(root) => {
            let depth = |mut pd: PdIndex| {
                let mut depth = 0;
                while let Some((parent, _)) = system.pd(pd).parent {
                    (pd, depth) = (parent, depth + 1);
                }
                depth
            };
            let inside = tree(system, root, &|_| 0);
            inside.iter().map(|(pd, ..)| head_width(system, *pd) + 2 * INSET * depth(*pd)).max().unwrap_or(0)
        }
    }
}

/// Lays the system out.
pub(super) fn draw(system: &System, title: &str) -> Drawing {
    let diagram = Diagram::of(system);
    let widths: Vec<i32> = diagram.blocks.iter().map(|block| block_width(system, *block)).collect();
    let sizes: Vec<Size> =
        (0..widths.len()).map(|block| size(system, &diagram, block, widths[block])).collect();
    let column = columns::assign(&diagram, &sizes, f64::from(2 * LABELS + 6 * TRACK));
    let rows = Rows::of(system, &diagram, &column);
    let mut painter = Painter::new(system, &diagram, &rows, &widths, title);
    painter.blocks();
    painter.wires();
    painter.legend();
    painter.drawing
}

/// Roughly: which side the wires leave at is not known yet, so half of them are taken for each.
fn size(system: &System, diagram: &Diagram, block: usize, width: i32) -> Size {
    let ports = |pd: Option<PdIndex>| {
        let pins = diagram.nets.iter().flat_map(|net| &net.pins);
        pins.filter(|pin| pin.block == block && pin.pd == pd).count().div_ceil(2)
    };
    let height = match diagram.blocks[block] {
        Block::Tree(root) => {
            tree(system, root, &|pd| ports(Some(pd))).first().map_or(0, |(_, _, height)| *height)
        }
        Block::Region(_) => ROW * (ports(None) as i32).max(2),
    };
    Size { width: f64::from(width), height: f64::from(height + ROW) }
}

struct Painter<'a> {
    system: &'a System,
    diagram: &'a Diagram,
    rows: &'a Rows,
    /// Left edge and width of each column.
    columns: Vec<(i32, i32)>,
    widths: &'a [i32],
    /// Track of each net in each gap.
    tracks: BTreeMap<(usize, usize), i32>,
    /// Left and right edge of each PD and region, by block and PD.
    edges: BTreeMap<(usize, Option<PdIndex>), (i32, i32)>,
    drawing: Drawing,
}

impl<'a> Painter<'a> {
    fn new(system: &'a System, diagram: &'a Diagram, rows: &'a Rows, widths: &'a [i32], title: &str) -> Self {
        let mut column_widths: Vec<i32> = Vec::new();
        for item in &rows.items {
            let width = item.block.map_or(2 * ROW, |block| widths[block]);
            if column_widths.len() <= item.column {
                column_widths.resize(item.column + 1, 0);
            }
            column_widths[item.column] = column_widths[item.column].max(width);
        }
        let mut columns = Vec::new();
        let mut track_of = BTreeMap::new();
        let mut x = MARGIN;
        for (gap, width) in column_widths.iter().enumerate() {
            columns.push((x, *width));
            x += width;
            let nets: Vec<usize> =
                rows.joints.keys().filter(|(joint_gap, _)| *joint_gap == gap).map(|(_, net)| *net).collect();
            let joints: Vec<Joint> = nets.iter().map(|net| joint(rows, gap, *net)).collect();
            let (tracks, count) = tracks(&joints);
            for (net, track) in nets.into_iter().zip(tracks) {
                track_of.insert((gap, net), x + LABELS + track as i32 * TRACK + TRACK / 2);
            }
            let last = gap + 1 == column_widths.len();
            x += match (count, last) {
                (0, true) => 0,
                (0, false) => LABELS,
                (count, true) => LABELS + count as i32 * TRACK,
                (count, false) => 2 * LABELS + count as i32 * TRACK,
            };
        }
        let bottom = rows.items.iter().map(|item| item.top + item.height).max().unwrap_or(0);
        let drawing = Drawing {
            title: printable(title),
            width: x + MARGIN,
            height: TOP + bottom + MARGIN,
            ..Drawing::default()
        };
        Self { system, diagram, rows, columns, widths, tracks: track_of, edges: BTreeMap::new(), drawing }
    }

    fn blocks(&mut self) {
        for item in &self.rows.items {
            let Some(block) = item.block else { continue };
            let (x, width) = self.columns[item.column];
            match self.diagram.blocks[block] {
                Block::Tree(root) => self.pds(block, root, Area { x, y: TOP + item.top, width, height: 0 }),
                Block::Region(region) => {
                    let own = self.widths[block];
                    let area =
                        Area { x: x + (width - own) / 2, y: TOP + item.top, width: own, height: item.height };
                    self.edges.insert((block, None), (area.x, area.x + own));
                    self.text(
                        area,
                        area.height / 2 + 4,
                        &region_words(self.system, region),
                        REMARK_SIZE,
                        Style::Region,
                    );
                    let words = format!("region {}", printable(&self.system.region(region).name));
                    self.drawing.frames.push(Frame { area, style: Style::Region, depth: 0, words });
                }
            }
        }
    }

    /// A PD without a parent and all inside it.
    fn pds(&mut self, block: usize, root: PdIndex, outer: Area) {
        let busier = |pd: PdIndex| {
            let side = |right: bool| {
                let own = self.rows.ports.iter().filter(|port| {
                    let item = &self.rows.items[port.item];
                    item.block == Some(block)
                        && (port.gap == item.column) == right
                        && port.pin.and_then(|pin| self.diagram.nets[port.net].pins[pin].pd) == Some(pd)
                });
                own.count()
            };
            side(true).max(side(false))
        };
        let tree = tree(self.system, root, &busier);
        let heads: Vec<i32> = tree.iter().map(|(pd, ..)| head_height(busier(*pd))).collect();
        let mut depths: BTreeMap<PdIndex, usize> = BTreeMap::new();
        for ((pd, top, height), head) in tree.into_iter().zip(heads) {
            let depth =
                self.system.pd(pd).parent.and_then(|(parent, _)| depths.get(&parent)).map_or(0, |up| up + 1);
            depths.insert(pd, depth);
            let inset = INSET * depth as i32;
            let area = Area { x: outer.x + inset, y: outer.y + top, width: outer.width - 2 * inset, height };
            self.edges.insert((block, Some(pd)), (area.x, area.x + area.width));
            let middle = (head - 3 * ROW) / 2;
            let name = short(&self.system.pd(pd).name);
            self.text(area, middle + 18, &name, NAME_SIZE, Style::Pd);
            self.text(area, middle + 33, &remark(self.system, pd), REMARK_SIZE, Style::Pd);
            let own = self.system.pd(pd);
            let image = printable(&own.image.path.to_string_lossy());
            let words = format!("PD {}, image {image}", printable(&own.name));
            self.drawing.frames.push(Frame { area, style: Style::Pd, depth, words });
        }
    }

    /// Centred in `area`, its letters standing on a line `below` its top.
    fn text(&mut self, area: Area, below: i32, text: &str, size: i32, style: Style) {
        let width = text_width(text, size);
        let place =
            Area { x: area.x + (area.width - width) / 2, y: area.y + below - size, width, height: size };
        let bold = size == NAME_SIZE;
        self.drawing.texts.push(Text { area: place, text: text.to_owned(), size, bold, style });
    }

    fn style(kind: Kind) -> Style {
        match kind {
            Kind::Call => Style::Call,
            Kind::Notification => Style::Notification,
            Kind::Nothing => Style::Nothing,
            Kind::Region => Style::Region,
        }
    }

    fn wires(&mut self) {
        for (&(gap, net), ports) in &self.rows.joints {
            let Some(&track) = self.tracks.get(&(gap, net)) else { continue };
            let ends: Vec<(i32, i32, Option<Style>)> =
                ports.iter().map(|port| self.end(*port, gap)).collect();
            let style = Self::style(self.diagram.nets[net].kind);
            let words = &self.diagram.nets[net].words;
            let line = |points: Vec<(i32, i32)>, heads, dots| Line {
                style,
                points,
                net,
                heads,
                dots,
                words: words.clone(),
            };
            if let [(x, y, head), (other_x, other_y, other_head)] = ends[..] {
                let points = vec![(x, y), (track, y), (track, other_y), (other_x, other_y)];
                self.drawing.lines.push(line(points, [head, other_head], Vec::new()));
            } else {
                let heights: BTreeSet<i32> = ends.iter().map(|(_, y, _)| *y).collect();
                let (top, bottom) =
                    (heights.first().copied().unwrap_or(0), heights.last().copied().unwrap_or(0));
                let inner = ends.iter().filter(|(_, y, _)| *y != top && *y != bottom);
                let dots = inner.map(|(_, y, _)| (track, *y)).collect();
                self.drawing.lines.push(line(vec![(track, top), (track, bottom)], [None, None], dots));
                for (x, y, head) in ends {
                    self.drawing.lines.push(line(vec![(x, y), (track, y)], [head, None], Vec::new()));
                }
            }
            for port in ports {
                self.label(*port, gap, style);
            }
        }
        self.passing();
    }

    /// Wires that pass a column.
    fn passing(&mut self) {
        for item in self.rows.items.iter().filter(|item| item.block.is_none()) {
            let (x, width) = self.columns[item.column];
            let Some(port) =
                self.rows.ports.iter().find(|port| std::ptr::eq(&self.rows.items[port.item], item))
            else {
                continue;
            };
            let y = TOP + item.top + port.offset;
            let net = &self.diagram.nets[port.net];
            self.drawing.lines.push(Line {
                style: Self::style(net.kind),
                points: vec![(x, y), (x + width, y)],
                net: port.net,
                heads: [None, None],
                dots: Vec::new(),
                words: net.words.clone(),
            });
        }
    }

    /// Where a port's wire ends, and what arrives there.
    fn end(&self, port: usize, gap: usize) -> (i32, i32, Option<Style>) {
        let y = TOP + self.rows.y(port);
        let port = &self.rows.ports[port];
        let item = &self.rows.items[port.item];
        let right = item.column == gap;
        let pin = port.pin.map(|pin| &self.diagram.nets[port.net].pins[pin]);
        let head = match pin.map(|pin| pin.head) {
            Some(Head::Called) => Some(Style::Call),
            Some(Head::Notified) => Some(Style::Notification),
            Some(Head::Plain) | None => None,
        };
        let (column, width) = self.columns[item.column];
        let own = pin.and_then(|pin| self.edges.get(&(pin.block, pin.pd)));
        let (left_edge, right_edge) = own.copied().unwrap_or((column, column + width));
        (if right { right_edge } else { left_edge }, y, head)
    }

    /// The id or the rights at a PD's end of a wire, above it, outside of the outermost box.
    fn label(&mut self, port: usize, gap: usize, style: Style) {
        let y = TOP + self.rows.y(port);
        let port = &self.rows.ports[port];
        let Some(pin) = port.pin.map(|pin| &self.diagram.nets[port.net].pins[pin]) else { return };
        if pin.label.is_empty() {
            return;
        }
        let item = &self.rows.items[port.item];
        let (column, width) = self.columns[item.column];
        let text_width = text_width(&pin.label, LABEL_SIZE);
        let x = if item.column == gap { column + width + 11 } else { column - 11 - text_width };
        let area = Area { x, y: y - 2 - LABEL_SIZE, width: text_width, height: LABEL_SIZE };
        self.drawing.texts.push(Text { area, text: pin.label.clone(), size: LABEL_SIZE, bold: false, style });
    }

    /// The title, and what the lines mean.
    fn legend(&mut self) {
        let title = format!(
            "{}: {}, {}, {}",
            short(&self.drawing.title),
            count(self.system.pds.len(), "PD"),
            count(self.system.regions.len(), "region"),
            count(self.system.channels.len(), "channel"),
        );
        let mut x = MARGIN;
        let write = |drawing: &mut Drawing, x: &mut i32, y: i32, text: &str, size: i32, style| {
            let width = text_width(text, size);
            let area = Area { x: *x, y, width, height: size };
            drawing.texts.push(Text { area, text: text.to_owned(), size, bold: size == NAME_SIZE, style });
            *x += width;
        };
        write(&mut self.drawing, &mut x, 14, &title, NAME_SIZE, Style::Pd);
        let mut most = x;
        x = MARGIN;
        let samples = [
            (Style::Notification, "notification"),
            (Style::Call, "call"),
            (Style::Region, "region, with rights"),
        ];
        for (style, words) in samples {
            let net = usize::MAX;
            let heads = [None, (style != Style::Region).then_some(style)];
            let points = vec![(x, 44), (x + 30, 44)];
            self.drawing.lines.push(Line {
                style,
                points,
                net,
                heads,
                dots: Vec::new(),
                words: words.to_owned(),
            });
            x += 38;
            write(&mut self.drawing, &mut x, 38, words, REMARK_SIZE, style);
            x += 24;
        }
        most = most.max(x);
        self.drawing.width = self.drawing.width.max(most + MARGIN);
    }
}

/// The heights at which the wires of a net come into a gap.
fn joint(rows: &Rows, gap: usize, net: usize) -> Joint {
    let mut joint = Joint::default();
    for port in rows.joints.get(&(gap, net)).into_iter().flatten() {
        let y = rows.y(*port);
        let from_left = rows.items[rows.ports[*port].item].column == gap;
        if from_left { joint.left.push(y) } else { joint.right.push(y) }
    }
    joint
}
