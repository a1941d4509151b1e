//! The system for Graphviz.

#![forbid(unsafe_code)]

use super::diagram::users;
use super::{ordered, short};
use crate::report::words::bytes;
use crate::sdf::{PdIndex, RegionIndex, System};

/// A string in quotes, as DOT escapes it. A backslash before a letter would be a line break or worse.
fn string(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

pub(super) fn write(system: &System, title: &str) -> String {
    let mut dot = format!(
        "digraph system {{\n  label={};\n  rankdir=LR;\n  compound=true;\n  fontname=\"monospace\";\n  \
         node [shape=box, fontname=\"monospace\", style=filled, fillcolor=\"#eef3fa\"];\n  \
         edge [fontname=\"monospace\", fontsize=10];\n",
        string(&short(title))
    );
    for (index, pd) in system.indexed_pds() {
        if pd.parent.is_none() {
            tree(system, index, 1, &mut dot);
        }
    }
    for (index, region) in system.regions.iter().enumerate() {
        let words = format!("{} {}", short(&region.name), bytes(region.size));
        dot +=
            &format!("  region{index} [shape=cylinder, fillcolor=\"#e3f4ea\", label={}];\n", string(&words));
    }
    for (RegionIndex(index), users) in users(system) {
        for (PdIndex(pd), rights) in users {
            dot += &format!(
                "  pd{pd} -> region{index} [dir=none, color=\"#2a7a4b\", label={}];\n",
                string(&rights)
            );
        }
    }
    for channel in &system.channels {
        let [one, other] = ordered(channel);
        let (PdIndex(from), PdIndex(to)) = (one.pd, other.pd);
        let look = match (one.pp, one.notify, other.notify) {
            (true, _, true) => "dir=both, color=\"#a5303d\", penwidth=2, arrowtail=open",
            (true, _, false) => "color=\"#a5303d\", penwidth=2",
            (false, true, true) => "dir=both",
            (false, true, false) => "dir=forward",
            (false, false, true) => "dir=back",
            (false, false, false) => "dir=none, style=dashed",
        };
        dot += &format!(
            "  pd{from} -> pd{to} [{look}, taillabel=\"{}\", headlabel=\"{}\"];\n",
            one.id, other.id
        );
    }
    dot + "}\n"
}

/// A PD, in a cluster with its children if it has any. Recursive: the depth of a system file is bounded.
fn tree(system: &System, index: PdIndex, depth: usize, dot: &mut String) {
    let pd = system.pd(index);
    let PdIndex(number) = index;
    let indent = "  ".repeat(depth);
    let name = short(&pd.name);
    let own = format!("pd{number} [label={}];\n", string(&format!("{name}\npriority {}", pd.priority)));
    let children: Vec<PdIndex> = system
        .indexed_pds()
        .filter(|(_, child)| child.parent.is_some_and(|(parent, _)| parent == index))
        .map(|(child, _)| child)
        .collect();
    if children.is_empty() {
        *dot += &format!("{indent}{own}");
        return;
    }
    *dot +=
        &format!("{indent}subgraph cluster{number} {{\n{indent}  label={};\n{indent}  {own}", string(&name));
    for child in children {
        tree(system, child, depth + 1, dot);
    }
    *dot += &format!("{indent}}}\n");
}
