//! `mk-sandbox graph`: the system as a picture: PDs inside their parents, regions with their users, channels and calls.
//! DOT and Mermaid leave the layout to other programs; the SVG is laid out here.
//!
//! The SVG is a circuit diagram. Boxes stand in columns (`columns.rs`), are ordered so that what belongs together lies
//! side by side (`rows.rs`), and wires run in the gaps between the columns, on tracks of their own (`route.rs`). A wire
//! that has to pass a column gets a row of its own there. So no wire touches a box that is not its own, and no two
//! wires share a stretch, however large the system is.

#![forbid(unsafe_code)]

mod columns;
mod diagram;
mod dot;
mod drawing;
mod mermaid;
mod route;
mod rows;
mod svg;

pub use drawing::{Area, Drawing, Frame, Line, Style, Text};

use crate::sdf::{Channel, End, System};

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For Graphviz.
    Dot,
    /// For Markdown renderers.
    Mermaid,
    /// For everything that shows pictures.
    Svg,
}

/// Boxes and ends of wires of the largest SVG. 63 PDs with every channel they can have and a thousand maps are below it; with many
/// more, nobody could read the picture, and laying it out would take minutes.
const MOST: usize = 12_000;

/// A system that no picture is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a picture with {0} boxes and ends of wires could not be read; --format dot writes it for Graphviz all the same"
)]
pub struct TooLarge(pub usize);

/// The picture as text. `title` is a line for its reader.
///
/// # Errors
/// The SVG would have too much in it.
pub fn graph(system: &System, title: &str, format: Format) -> Result<String, TooLarge> {
    Ok(match format {
        Format::Dot => dot::write(system, title),
        Format::Mermaid => mermaid::write(system, title),
        Format::Svg => svg::write(&drawing(system, title)?),
    })
}

/// Where everything in the SVG stands.
///
/// # Errors
/// It would have too much in it.
pub fn drawing(system: &System, title: &str) -> Result<Drawing, TooLarge> {
    let maps = system.pds.iter().map(|pd| pd.maps.len()).sum::<usize>();
    let size = system.pds.len() + system.regions.len() + 2 * system.channels.len() + maps;
    if size > MOST { Err(TooLarge(size)) } else { Ok(drawing::draw(system, title)) }
}

/// A channel for a picture: the end that calls comes first.
fn ordered(channel: &Channel) -> [&End; 2] {
    let [one, other] = &channel.ends;
    if other.pp { [other, one] } else { [one, other] }
}

/// Names are cut where a box would grow too wide for a picture; the whole name is in the box's tooltip.
fn short(name: &str) -> String {
    const MOST: usize = 28;
    let name = super::words::printable(name);
    if name.chars().count() <= MOST {
        return name;
    }
    name.chars().take(MOST - 1).chain(['…']).collect()
}
