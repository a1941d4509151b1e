//! `ioport`: a range of x86 I/O ports that a PD may use.

#![forbid(unsafe_code)]

use super::arch::ArchSet;
use super::build::Builder;
use super::context::{Context, Shape, quoted};
use super::document::Element;
use super::limits::{IO_PORTS, MAX_ID};
use super::setvar::{self, Value};
use super::system::{PdIndex, SetVarValue, Span};

/// One `ioport`.
#[derive(Clone, Debug, PartialEq)]
pub struct IoPort {
    /// 0 to 61, unique among the ports of its PD.
    pub id: u8,
    /// First port.
    pub addr: u16,
    /// Number of ports, at least 1; no other `ioport` of the system has one of them.
    pub size: u32,
    /// The `ioport` element.
    pub span: Span,
}

const SHAPE: Shape = Shape { attributes: &["id", "addr", "size", "setvar_id", "setvar_addr"], children: &[] };

/// Reads an `ioport` of the PD `pd`.
pub(super) fn read<'s>(b: &mut Builder<'s>, element: &Element<'s>, pd: PdIndex) {
    let cx = &mut b.cx;
    cx.shape(element, &SHAPE);
    cx.require_arch(ArchSet::X86_64, "`ioport`", &element.span);
    cx.warning(
        &element.span,
        "these I/O ports reach no device: Linux has none for them",
        "the id and the symbols work",
    );
    let id = cx.id(element, MAX_ID);
    let range = read_range(cx, element);
    if let Some(id) = id {
        let own = &mut b.pds[pd.0];
        if let Some(other) = own.pd.ioports.iter().find(|port| port.id == id) {
            let message = format!("{} has two ioports with id {id}", quoted(&own.pd.name));
            let help = format!("the other is at {}", cx.line_of(&other.span));
            cx.error_help(element.attribute("id").map_or(&element.span, |id| &id.span), message, help);
        }
        if let Some(attribute) = element.attribute("setvar_id") {
            setvar::set(b, pd, attribute, "setvar_id", Value::Known(SetVarValue::Id(id)));
        }
    }
    let Some((addr, size)) = range else { return };
    if let Some(attribute) = element.attribute("setvar_addr") {
        let value = Value::Known(SetVarValue::Word(u64::from(addr)));
        setvar::set(b, pd, attribute, "setvar_addr", value);
    }
    if let Some(id) = id {
        b.pds[pd.0].pd.ioports.push(IoPort { id, addr, size, span: element.span.clone() });
    }
}

fn read_range<'s>(cx: &mut Context<'s>, element: &Element<'s>) -> Option<(u16, u32)> {
    let addr = cx.required(element, "addr").and_then(|attribute| {
        let addr = cx.number(attribute)?;
        cx.within(attribute, addr, 0, IO_PORTS - 1)
    });
    let attribute = cx.required(element, "size")?;
    let size = cx.number(attribute)?;
    if size == 0 {
        cx.error(&attribute.span, "`size` is 0");
        return None;
    }
    let addr = addr?;
    if size > IO_PORTS - addr {
        let message = format!("{size} ports from {addr:#x} on go beyond the last one, 0xffff");
        cx.error(&attribute.span, message);
        return None;
    }
    Some((u16::try_from(addr).ok()?, u32::try_from(size).ok()?))
}

/// No two ranges overlap, in whatever PDs they are.
pub(super) fn check_overlap(b: &mut Builder<'_>) {
    let mut ports: Vec<&IoPort> = b.pds.iter().flat_map(|draft| &draft.pd.ioports).collect();
    ports.sort_by_key(|port| (port.addr, port.span.start));
    let mut reaching: Option<(u32, &IoPort)> = None;
    for port in ports {
        let (start, end) = (u32::from(port.addr), u32::from(port.addr) + port.size);
        if let Some((reached, other)) = reaching
            && start < reached
        {
            let (first, second) = match other.span.start < port.span.start {
                true => (other, port),
                false => (port, other),
            };
            let help = format!("the other is at {}", b.cx.line_of(&first.span));
            b.cx.error_help(&second.span, "this range of ports overlaps another", help);
        }
        if reaching.is_none_or(|(reached, _)| end > reached) {
            reaching = Some((end, port));
        }
    }
}
