//! The system for Mermaid, which many Markdown renderers show as a picture.

#![forbid(unsafe_code)]

use super::diagram::users;
use super::{ordered, short};
use crate::report::words::bytes;
use crate::sdf::{PdIndex, RegionIndex, System};

/// A label in quotes: whatever is not plain becomes an entity, as Mermaid has no other escape.
fn string(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            'a'..='z' | 'A'..='Z' | '0'..='9' | ' ' | '_' | '-' | '.' | ',' | ':' | '/' => {
                quoted.push(character)
            }
            other => quoted += &format!("#{};", u32::from(other)),
        }
    }
    quoted + "\""
}

pub(super) fn write(system: &System, title: &str) -> String {
    let mut text = format!("---\ntitle: {}\n---\nflowchart LR\n", string(&short(title)));
    for (index, pd) in system.indexed_pds() {
        if pd.parent.is_none() {
            tree(system, index, 1, &mut text);
        }
    }
    for (index, region) in system.regions.iter().enumerate() {
        let words = format!("{} {}", short(&region.name), bytes(region.size));
        text += &format!("  region{index}[({})]\n", string(&words));
    }
    for (RegionIndex(index), users) in users(system) {
        for (PdIndex(pd), rights) in users {
            text += &format!("  pd{pd} ---|{rights}| region{index}\n");
        }
    }
    for channel in &system.channels {
        let [one, other] = ordered(channel);
        let (PdIndex(from), PdIndex(to)) = (one.pd, other.pd);
        let arrow = match (one.pp, one.notify, other.notify) {
            (true, _, true) => "<==>",
            (true, _, false) => "==>",
            (false, true, true) => "<-->",
            (false, true, false) => "-->",
            // There is no arrow to the left alone.
            (false, false, true) => {
                text += &format!("  pd{to} -->|\"{} to {}\"| pd{from}\n", other.id, one.id);
                continue;
            }
            (false, false, false) => "-.-",
        };
        let calls = if one.pp { "call " } else { "" };
        text += &format!("  pd{from} {arrow}|\"{calls}{} to {}\"| pd{to}\n", one.id, other.id);
    }
    text
}

/// A PD, in a subgraph with its children if it has any. Recursive: the depth of a system file is bounded.
fn tree(system: &System, index: PdIndex, depth: usize, text: &mut String) {
    let pd = system.pd(index);
    let PdIndex(number) = index;
    let indent = "  ".repeat(depth);
    let own = string(&format!("{}, priority {}", short(&pd.name), pd.priority));
    let children: Vec<PdIndex> = system
        .indexed_pds()
        .filter(|(_, child)| child.parent.is_some_and(|(parent, _)| parent == index))
        .map(|(child, _)| child)
        .collect();
    if children.is_empty() {
        *text += &format!("{indent}pd{number}[{own}]\n");
        return;
    }
    *text += &format!(
        "{indent}subgraph tree{number}[{}]\n{indent}  pd{number}[{own}]\n",
        string(&short(&pd.name))
    );
    for child in children {
        tree(system, child, depth + 1, text);
    }
    *text += &format!("{indent}end\n");
}
