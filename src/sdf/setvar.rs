//! `setvar` and the attributes that set a symbol.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use super::arch::ArchSet;
use super::build::Builder;
use super::context::{Context, Shape, quoted};
use super::document::{Attribute, Element};
use super::limits::{LARGE_PAGE, SMALL_PAGE};
use super::system::{MemoryRegion, PdIndex, RegionIndex, SetVar, SetVarValue, Span};

/// Where addresses are invented from: above what 32 bits reach, so that nothing takes them for a
/// device's.
const INVENTED: u64 = 0x10_0000_0000;

/// A symbol whose value may still depend on the rest of the file.
#[derive(Debug)]
pub(super) struct Draft {
    symbol: String,
    symbol_span: Span,
    attribute: &'static str,
    span: Span,
    value: Value,
}

/// Its value.
#[derive(Debug)]
pub(super) enum Value {
    Known(SetVarValue),
    /// The physical address of a region.
    PhysAddr(RegionIndex),
}

const SHAPE: Shape = Shape { attributes: &["symbol", "region_paddr"], children: &[] };

/// Reads a `setvar` of the PD `pd`.
pub(super) fn read<'s>(b: &mut Builder<'s>, element: &Element<'s>, pd: PdIndex) {
    b.cx.shape(element, &SHAPE);
    let symbol = b.cx.required(element, "symbol");
    let Some(region_paddr) = b.cx.required(element, "region_paddr") else {
        return;
    };
    let Some(region) = b.regions.find(&mut b.cx, region_paddr) else {
        return;
    };
    b.regions.drafts[region.0].used = true;
    let Some(symbol) = symbol else { return };
    set(b, pd, symbol, "region_paddr", Value::PhysAddr(region));
    if let Some(draft) = b.pds[pd.0].setvars.last_mut() {
        draft.span = region_paddr.span.clone();
    }
}

/// Sets the symbol that `attribute` of some element names, in the image of `pd`.
pub(super) fn set(
    b: &mut Builder<'_>,
    pd: PdIndex,
    attribute: &Attribute<'_>,
    name: &'static str,
    value: Value,
) {
    let symbol = attribute.value.clone();
    let span = attribute.span.clone();
    let symbol_span = span.clone();
    b.pds[pd.0].setvars.push(Draft { symbol, symbol_span, attribute: name, span, value });
}

/// Every setvar of every PD, with its value.
pub(super) fn finish(b: &mut Builder<'_>, regions: &[MemoryRegion]) {
    let invented = invent(b, regions);
    for pd in &mut b.pds {
        pd.setvars.sort_by_key(|draft| draft.span.start);
        let mut symbols: BTreeMap<String, Span> = BTreeMap::new();
        for draft in std::mem::take(&mut pd.setvars) {
            check_symbol(&mut b.cx, &draft, &pd.pd.name, &mut symbols);
            let value = match draft.value {
                Value::Known(value) => value,
                Value::PhysAddr(region) => {
                    let given = regions[region.0].phys_addr;
                    let address = given.or_else(|| invented.get(&region).copied());
                    // An address that is missing here has been reported.
                    SetVarValue::Word(address.unwrap_or(0))
                }
            };
            let Draft { symbol, attribute, span, .. } = draft;
            pd.pd.setvars.push(SetVar { symbol, value, attribute, span });
        }
    }
}

fn check_symbol(cx: &mut Context<'_>, draft: &Draft, pd: &str, symbols: &mut BTreeMap<String, Span>) {
    if draft.symbol.is_empty() {
        return cx.error(&draft.symbol_span, "the name of the symbol is empty");
    }
    if let Some(first) = symbols.get(&draft.symbol) {
        let symbol = quoted(&draft.symbol);
        let message = format!("the symbol {symbol} of {} is set twice", quoted(pd));
        let help = format!("the first time is at {}", cx.line_of(first));
        return cx.error_help(&draft.symbol_span, message, help);
    }
    symbols.insert(draft.symbol.clone(), draft.symbol_span.clone());
}

/// Addresses for regions that have none but are asked for it: one behind the other, aligned to
/// large pages, around the regions that have one. The same file yields the same addresses.
fn invent(b: &mut Builder<'_>, regions: &[MemoryRegion]) -> BTreeMap<RegionIndex, u64> {
    let mut asked: BTreeMap<RegionIndex, u64> = BTreeMap::new();
    for pd in &b.pds {
        for draft in &pd.setvars {
            let Value::PhysAddr(region) = draft.value else {
                continue;
            };
            if regions[region.0].phys_addr.is_some() {
                continue;
            }
            if b.cx.archs == ArchSet::X86_64 {
                let name = quoted(&regions[region.0].name);
                let message = format!("{name} has no `phys_addr`, which x86_64 needs here");
                b.cx.error_help(&draft.span, message, "give the region a `phys_addr`");
            }
            asked.insert(region, 0);
        }
    }
    let mut taken: Vec<(u64, u64)> =
        regions.iter().filter_map(|region| region.phys_addr.map(|start| (start, region.size))).collect();
    taken.sort_unstable();
    let round_up = |address: u64, step: u64| address.checked_next_multiple_of(step);
    let mut taken = taken.into_iter().peekable();
    let mut next = INVENTED;
    for (region, address) in &mut asked {
        let Some(size) = round_up(regions[region.0].size.max(SMALL_PAGE), LARGE_PAGE) else {
            continue;
        };
        // What lies below stays below: addresses only grow.
        while let Some((start, length)) = taken.next_if(|(start, _)| *start < next.saturating_add(size)) {
            let end = start.saturating_add(length);
            if next < end {
                next = round_up(end, LARGE_PAGE).unwrap_or(next);
            }
        }
        *address = next;
        next = next.saturating_add(size);
    }
    asked
}
