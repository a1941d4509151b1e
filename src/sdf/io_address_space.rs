//! `io_address_space`: what a device behind an x86 I/O MMU can reach.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use super::arch::ArchSet;
use super::build::Builder;
use super::context::{Context, Shape};
use super::document::Element;
use super::map::{AddressSpace, Owner};
use super::system::{Map, Span};

/// First address behind what an I/O MMU with four levels translates.
const TOP: u64 = 1 << 48;

/// One `io_address_space`.
#[derive(Clone, Debug, PartialEq)]
pub struct IoAddressSpace {
    /// Unique among these.
    pub name: String,
    /// The device: bus, device and function as the I/O MMU sees them. Unique.
    pub peripheral_id: u16,
    /// The I/O MMU's domain. Unique.
    pub domain_id: u16,
    /// `iomap`s, ascending by address, not overlapping; never executable.
    pub maps: Vec<Map>,
    /// The element's start tag.
    pub span: Span,
}

const SHAPE: Shape = Shape { attributes: &["name", "peripheral_id", "domain_id"], children: &["iomap"] };

/// What is taken, each with the element that has it.
#[derive(Debug, Default)]
pub(super) struct Ids {
    names: BTreeMap<String, Span>,
    peripherals: BTreeMap<u16, Span>,
    domains: BTreeMap<u16, Span>,
}

fn claim<K: Ord>(
    cx: &mut Context<'_>,
    taken: &mut BTreeMap<K, Span>,
    key: K,
    attribute: &str,
    element: &Element<'_>,
) {
    if let Some(other) = taken.get(&key) {
        let help = format!("the first is at {}", cx.line_of(other));
        let span = element.attribute(attribute).map_or(&element.span, |found| &found.span);
        let message = format!("two `io_address_space` have the same `{attribute}`");
        cx.error_help(span, message, help);
    } else {
        taken.insert(key, element.span.clone());
    }
}

/// Reads an `io_address_space`.
pub(super) fn read<'s>(b: &mut Builder<'s>, element: &Element<'s>) {
    b.cx.shape(element, &SHAPE);
    b.cx.unsupported("io_address_space", &element.span);
    b.cx.require_arch(ArchSet::X86_64, "`io_address_space`", &element.span);
    let name = b.cx.name(element);
    let peripheral_id = id(b, element, "peripheral_id");
    let domain_id = id(b, element, "domain_id");
    if let Some(name) = &name {
        claim(&mut b.cx, &mut b.device_ids.names, name.clone(), "name", element);
    }
    if let Some(id) = peripheral_id {
        claim(&mut b.cx, &mut b.device_ids.peripherals, id, "peripheral_id", element);
    }
    if let Some(id) = domain_id {
        claim(&mut b.cx, &mut b.device_ids.domains, id, "domain_id", element);
    }
    let owner = Owner::Device(b.io_address_spaces.len());
    let mut space = AddressSpace { owner, top: TOP, maps: Vec::new() };
    for iomap in element.children_called("iomap") {
        super::map::read(b, iomap, &mut space);
    }
    let (Some(name), Some(peripheral_id), Some(domain_id)) = (name, peripheral_id, domain_id) else {
        return;
    };
    b.spaces.push(space);
    b.io_address_spaces.push(IoAddressSpace {
        name,
        peripheral_id,
        domain_id,
        maps: Vec::new(),
        span: element.span.clone(),
    });
}

fn id<'s>(b: &mut Builder<'s>, element: &Element<'s>, name: &'static str) -> Option<u16> {
    let attribute = b.cx.required(element, name)?;
    let number = b.cx.number(attribute)?;
    let number = b.cx.within(attribute, number, 0, u64::from(u16::MAX))?;
    u16::try_from(number).ok()
}
