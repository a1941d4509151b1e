//! `map`, and the rules of an address space: of a PD, a virtual machine or a device.

#![forbid(unsafe_code)]

use super::build::Builder;
use super::context::{Context, Shape, quoted};
use super::document::{Attribute, Element};
use super::limits::SMALL_PAGE;
use super::setvar::{self, Value};
use super::system::{Map, MemoryRegion, PdIndex, Perms, RegionIndex, SetVarValue, Span};

/// A mapping and where its address stands.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) map: Map,
    address: (&'static str, Span),
}

/// Whose mappings are judged together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// A PD.
    Pd(PdIndex),
    /// The virtual machine of a PD.
    Vm(PdIndex),
    /// A device, by its index in the system.
    Device(usize),
}

/// Everything that is mapped into one address space.
#[derive(Debug)]
pub(super) struct AddressSpace {
    pub(super) owner: Owner,
    /// First address behind it.
    pub(super) top: u64,
    /// In the order of the file, until they are checked.
    pub(super) maps: Vec<Draft>,
}

const ATTRIBUTES: &[&str] =
    &["mr", "vaddr", "perms", "cached", "setvar_vaddr", "setvar_size", "setvar_prefill_size"];

const SHAPE: Shape = Shape { attributes: ATTRIBUTES, children: &[] };

/// In a virtual machine: it has no image whose symbols could be set.
const VM_SHAPE: Shape = Shape { attributes: ATTRIBUTES.split_at(4).0, children: &[] };

const DEVICE_SHAPE: Shape = Shape { attributes: &["mr", "iovaddr", "perms"], children: &[] };

/// Reads a `map` or `iomap` into `space`.
pub(super) fn read<'s>(b: &mut Builder<'s>, element: &Element<'s>, space: &mut AddressSpace) {
    let (shape, address_name) = match space.owner {
        Owner::Pd(_) => (&SHAPE, "vaddr"),
        Owner::Vm(_) => (&VM_SHAPE, "vaddr"),
        Owner::Device(_) => (&DEVICE_SHAPE, "iovaddr"),
    };
    b.cx.shape(element, shape);
    let mr = b.cx.required(element, "mr");
    let region = mr.and_then(|attribute| b.regions.find(&mut b.cx, attribute));
    let address = b.cx.required(element, address_name);
    let vaddr = address.and_then(|attribute| b.cx.number(attribute));
    let perms = perms(&mut b.cx, element, space.owner);
    let cached = b.cx.boolean(element, "cached", true);
    let Some(region) = region else { return };
    b.regions.drafts[region.0].used = true;
    if let (Owner::Device(_), Some(mr)) = (space.owner, mr) {
        let draft = &mut b.regions.drafts[region.0];
        draft.device = true;
        if draft.region.page_size > SMALL_PAGE {
            let message = format!("{} has large pages, but devices have none", quoted(&mr.value));
            b.cx.error_help(&mr.span, message, "give the region page_size=\"0x1000\"");
        }
    }
    let (Some(address), Some(vaddr)) = (address, vaddr) else {
        return;
    };
    if let Owner::Pd(pd) = space.owner {
        setvars(b, element, pd, region, vaddr);
        if vaddr == 0 {
            return b.cx.error_help(
                &address.span,
                "`vaddr` is 0, which cannot be mapped on Linux",
                "the lowest address that can is in /proc/sys/vm/mmap_min_addr, as a rule 0x10000",
            );
        }
    }
    space.maps.push(Draft {
        map: Map { region, vaddr, perms, cached, span: element.span.clone() },
        address: (address_name, address.span.clone()),
    });
}

fn setvars<'s>(b: &mut Builder<'s>, element: &Element<'s>, pd: PdIndex, region: RegionIndex, vaddr: u64) {
    let draft = &b.regions.drafts[region.0].region;
    let size = draft.size;
    let prefill_size = match (&draft.prefill, draft.bootinfo) {
        (Some((_, length)), _) => Some(*length),
        // Linux has no boot information to give.
        (None, Some(_)) => Some(0),
        (None, None) => None,
    };
    if let Some(attribute) = element.attribute("setvar_vaddr") {
        let value = Value::Known(SetVarValue::Word(vaddr));
        setvar::set(b, pd, attribute, "setvar_vaddr", value);
    }
    if let Some(attribute) = element.attribute("setvar_size") {
        let value = Value::Known(SetVarValue::Word(size));
        setvar::set(b, pd, attribute, "setvar_size", value);
    }
    if let Some(attribute) = element.attribute("setvar_prefill_size") {
        match prefill_size {
            Some(size) => {
                let value = Value::Known(SetVarValue::Word(size));
                setvar::set(b, pd, attribute, "setvar_prefill_size", value);
            }
            None => not_prefilled(b, attribute, region),
        }
    }
}

fn not_prefilled(b: &mut Builder<'_>, attribute: &Attribute<'_>, region: RegionIndex) {
    let name = quoted(&b.regions.drafts[region.0].region.name);
    let message = format!("`setvar_prefill_size`, but {name} is not prefilled");
    b.cx.error_help(&attribute.span, message, "give the region a `prefill_path`, or use `setvar_size`");
}

/// `perms`, `rw` where it is not given.
fn perms<'s>(cx: &mut Context<'s>, element: &Element<'s>, owner: Owner) -> Perms {
    let mut perms = Perms { read: false, write: false, execute: false };
    let default = Perms { read: true, write: true, execute: false };
    let Some(attribute) = element.attribute("perms") else {
        return default;
    };
    let device = matches!(owner, Owner::Device(_));
    let letters = if device { "`r` and `w`" } else { "`r`, `w` and `x`" };
    for letter in attribute.value.chars() {
        let right = match letter {
            'r' => &mut perms.read,
            'w' => &mut perms.write,
            'x' if !device => &mut perms.execute,
            other => {
                let message = format!("`perms` holds {}", quoted(other.encode_utf8(&mut [0; 4])));
                cx.error_help(&attribute.span, message, format!("it is made of {letters}"));
                return default;
            }
        };
        if std::mem::replace(right, true) {
            cx.error(&attribute.span, format!("`perms` holds `{letter}` twice"));
            return default;
        }
    }
    if attribute.value.is_empty() {
        cx.error_help(&attribute.span, "`perms` is empty", format!("it is made of {letters}"));
        return default;
    }
    if attribute.value == "w" && !device {
        cx.error_help(
            &attribute.span,
            "`perms` is `w` alone: memory cannot be written without being read",
            "write `rw`",
        );
        return default;
    }
    perms
}

impl AddressSpace {
    /// Judges the mappings, now that page sizes are settled, and sorts them by address.
    pub(super) fn finish(&mut self, cx: &mut Context<'_>, regions: &[MemoryRegion]) {
        self.maps.retain(|draft| {
            let region = &regions[draft.map.region.0];
            // A size that is not known has been reported; the address is judged all the same.
            fits(cx, draft, region, self.top) && region.size != 0
        });
        self.maps.sort_by_key(|draft| (draft.map.vaddr, draft.map.span.start));
        let mut reaching: Option<(u64, &Draft)> = None;
        for draft in &self.maps {
            let region = &regions[draft.map.region.0];
            let end = draft.map.vaddr + region.size;
            if let Some((reached, other)) = reaching
                && draft.map.vaddr < reached
            {
                overlap(cx, draft, other, regions);
            }
            if reaching.is_none_or(|(reached, _)| end > reached) {
                reaching = Some((end, draft));
            }
        }
    }
}

fn fits(cx: &mut Context<'_>, draft: &Draft, region: &MemoryRegion, top: u64) -> bool {
    let (name, span) = &draft.address;
    let (start, size) = (draft.map.vaddr, region.size);
    if !start.is_multiple_of(region.page_size) {
        let message = format!(
            "`{name}` is {start:#x}, which is not a multiple of the page size {:#x} of {}",
            region.page_size,
            quoted(&region.name)
        );
        cx.error(span, message);
        return false;
    }
    let Some(end) = start.checked_add(size) else {
        let message = format!(
            "`{name}` is {start:#x}: the {size:#x} bytes of {} there do not fit into 64 bits",
            quoted(&region.name)
        );
        cx.error(span, message);
        return false;
    };
    if end > top {
        let message = format!("{} would end at {end:#x}, beyond the top of memory", quoted(&region.name));
        cx.error_help(span, message, format!("it must end at or below {top:#x}"));
        return false;
    }
    true
}

fn overlap(cx: &mut Context<'_>, one: &Draft, other: &Draft, regions: &[MemoryRegion]) {
    let (first, second) = match one.map.span.start < other.map.span.start {
        true => (one, other),
        false => (other, one),
    };
    let range = |draft: &Draft| {
        let region = &regions[draft.map.region.0];
        let end = draft.map.vaddr + region.size;
        format!("{} at {:#x} to {end:#x}", quoted(&region.name), draft.map.vaddr)
    };
    let message = format!("{} overlaps {}", range(second), range(first));
    let help = format!("the other is at {}", cx.line_of(&first.map.span));
    cx.error_help(&second.address.1, message, help);
}

/// The addresses at which each region is used.
pub(super) fn uses(spaces: &[AddressSpace]) -> impl Iterator<Item = (RegionIndex, u64)> {
    spaces.iter().flat_map(|space| &space.maps).map(|draft| (draft.map.region, draft.map.vaddr))
}
