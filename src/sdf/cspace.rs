//! `cspace`: capabilities to kernel objects of other PDs.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use super::build::Builder;
use super::context::Shape;
use super::document::Element;
use super::limits::SLOTS;
use super::system::{PdIndex, Span};

/// One `cap_tcb`, `cap_sc` or `cap_vspace`.
#[derive(Clone, Debug, PartialEq)]
pub struct CapSlot {
    /// 1 to 127, unique in its PD.
    pub slot: u8,
    /// What the capability is to.
    pub object: Object,
    /// Whose object; may be the PD that holds the capability.
    pub pd: PdIndex,
    /// The element.
    pub span: Span,
}

/// A kernel object of a PD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Object {
    /// `cap_tcb`: its thread.
    Tcb,
    /// `cap_sc`: its scheduling context.
    SchedContext,
    /// `cap_vspace`: its address space.
    VSpace,
}

const SHAPE: Shape = Shape { attributes: &[], children: &["cap_tcb", "cap_sc", "cap_vspace"] };

const CAP_SHAPE: Shape = Shape { attributes: &["slot", "pd"], children: &[] };

/// Reads the `cspace` of the PD `pd`, when every PD is known.
pub(super) fn read<'s>(b: &mut Builder<'s>, element: &Element<'s>, pd: PdIndex) {
    b.cx.shape(element, &SHAPE);
    let mut slots: BTreeMap<u8, CapSlot> = BTreeMap::new();
    for child in &element.children {
        let object = match child.name {
            "cap_tcb" => Object::Tcb,
            "cap_sc" => Object::SchedContext,
            "cap_vspace" => Object::VSpace,
            _ => continue,
        };
        let Some(cap) = read_cap(b, child, object) else {
            continue;
        };
        if let Some(other) = slots.get(&cap.slot) {
            let help = format!("the other is at {}", b.cx.line_of(&other.span));
            let span = child.attribute("slot").map_or(&child.span, |slot| &slot.span);
            b.cx.error_help(span, format!("slot {} is taken twice", cap.slot), help);
        } else {
            slots.insert(cap.slot, cap);
        }
    }
    b.pds[pd.0].pd.cspace = slots.into_values().collect();
}

fn read_cap<'s>(b: &mut Builder<'s>, element: &Element<'s>, object: Object) -> Option<CapSlot> {
    b.cx.shape(element, &CAP_SHAPE);
    let slot = b.cx.required(element, "slot").and_then(|attribute| {
        let slot = b.cx.number(attribute)?;
        b.cx.within(attribute, slot, SLOTS.0, SLOTS.1)
    });
    let pd = b.cx.required(element, "pd").and_then(|attribute| b.find_pd(attribute));
    let slot = u8::try_from(slot?).ok()?;
    Some(CapSlot { slot, object, pd: pd?, span: element.span.clone() })
}
