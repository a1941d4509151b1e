//! `irq`: an interrupt that a PD receives as a channel.

#![forbid(unsafe_code)]

use super::arch::ArchSet;
use super::build::Builder;
use super::context::{Context, Shape, quoted};
use super::document::Element;
use super::limits::{MAX_ID, MAX_VECTOR};
use super::number;
use super::setvar::{self, Value};
use super::system::{PdIndex, SetVarValue, Span};

/// One `irq`.
#[derive(Clone, Debug, PartialEq)]
pub struct Irq {
    /// Channel id, 0 to 61, unique among the channel ends and irqs of its PD.
    pub id: u8,
    /// Which interrupt it is; no other irq of the system is the same.
    pub source: IrqSource,
    /// The `irq` element.
    pub span: Span,
}

/// Where an interrupt comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IrqSource {
    /// Arm and RISC-V: a number of the interrupt controller.
    Number {
        /// `irq`
        number: u32,
        /// `trigger`
        trigger: Trigger,
    },
    /// x86: a pin of an I/O APIC.
    IoApic {
        /// `ioapic`
        ioapic: u64,
        /// `pin`
        pin: u64,
        /// `vector`, 0 to 107
        vector: u8,
        /// `trigger`
        trigger: Trigger,
        /// `polarity`
        polarity: Polarity,
    },
    /// x86: a message of a PCI device.
    Msi {
        /// `pcidev`
        device: PciDevice,
        /// `handle`
        handle: u64,
        /// `vector`, 0 to 107
        vector: u8,
    },
}

impl IrqSource {
    /// The number that no two irqs of a system share.
    fn number(self) -> u32 {
        match self {
            Self::Number { number, .. } => number,
            Self::IoApic { vector, .. } | Self::Msi { vector, .. } => u32::from(vector),
        }
    }
}

/// `trigger`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// `level`
    Level,
    /// `edge`
    Edge,
}

/// `polarity`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Polarity {
    /// `high`
    High,
    /// `low`
    Low,
}

/// A PCI address, `bus:dev.func` in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PciDevice {
    /// 0 to 255
    pub bus: u8,
    /// 0 to 31
    pub device: u8,
    /// 0 to 7
    pub function: u8,
}

impl std::str::FromStr for PciDevice {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (bus, rest) = text.split_once(':').ok_or(())?;
        let (device, function) = rest.split_once('.').ok_or(())?;
        let part = |digits: &str, most: u64| {
            let number = number::parse_hex(digits).ok().filter(|number| *number <= most);
            number.and_then(|number| u8::try_from(number).ok()).ok_or(())
        };
        Ok(Self { bus: part(bus, 255)?, device: part(device, 31)?, function: part(function, 7)? })
    }
}

const NUMBER: Shape = Shape { attributes: &["irq", "id", "trigger", "setvar_id"], children: &[] };

const IO_APIC: Shape = Shape {
    attributes: &["id", "pin", "vector", "ioapic", "trigger", "polarity", "setvar_id"],
    children: &[],
};

const MSI: Shape = Shape { attributes: &["id", "pcidev", "handle", "vector", "setvar_id"], children: &[] };

/// The three kinds of `irq` elements.
#[derive(Clone, Copy)]
enum Form {
    Number,
    IoApic,
    Msi,
}

/// Each form has attributes that the others have not.
fn form(cx: &Context<'_>, element: &Element<'_>) -> Form {
    let has = |name| element.attribute(name).is_some();
    if has("irq") {
        Form::Number
    } else if has("pcidev") || has("handle") {
        Form::Msi
    } else if ["pin", "ioapic", "vector", "polarity"].into_iter().any(has) || cx.archs == ArchSet::X86_64 {
        Form::IoApic
    } else {
        Form::Number
    }
}

/// Reads an `irq` of the PD `pd`.
pub(super) fn read<'s>(b: &mut Builder<'s>, element: &Element<'s>, pd: PdIndex) {
    let cx = &mut b.cx;
    let (shape, archs, what) = match form(cx, element) {
        Form::Number => (&NUMBER, ArchSet::AARCH64.or(ArchSet::RISCV64), "an `irq` with a number"),
        Form::IoApic => (&IO_APIC, ArchSet::X86_64, "an `irq` with a `pin`"),
        Form::Msi => (&MSI, ArchSet::X86_64, "an `irq` with a `pcidev`"),
    };
    cx.shape(element, shape);
    cx.require_arch(archs, what, &element.span);
    let id = cx.id(element, MAX_ID);
    let source = match form(cx, element) {
        Form::Number => read_number(cx, element),
        Form::IoApic => read_io_apic(cx, element),
        Form::Msi => read_msi(cx, element),
    };
    cx.warning(
        &element.span,
        "this interrupt never arrives: Linux has no source for it",
        "its id, its symbol and its acknowledgement work",
    );
    if let Some(id) = id {
        b.claim_channel_id(pd, id, element);
        if let Some(attribute) = element.attribute("setvar_id") {
            setvar::set(b, pd, attribute, "setvar_id", Value::Known(SetVarValue::Id(id)));
        }
    }
    let Some(source) = source else { return };
    let number = source.number();
    if let Some(other) = b.irqs.get(&number) {
        let help = format!("the other is at {}", b.cx.line_of(other));
        b.cx.error_help(&element.span, format!("there are two irqs with number {number}"), help);
    } else {
        b.irqs.insert(number, element.span.clone());
    }
    if let Some(id) = id {
        b.pds[pd.0].pd.irqs.push(Irq { id, source, span: element.span.clone() });
    }
}

fn trigger<'s>(cx: &mut Context<'s>, element: &Element<'s>) -> Trigger {
    cx.choice(element, "trigger", [("level", Trigger::Level), ("edge", Trigger::Edge)])
}

fn required_decimal<'s>(
    cx: &mut Context<'s>,
    element: &Element<'s>,
    name: &'static str,
    most: u64,
) -> Option<u64> {
    let attribute = cx.required(element, name)?;
    let number = cx.decimal(attribute)?;
    cx.within(attribute, number, 0, most)
}

fn read_number<'s>(cx: &mut Context<'s>, element: &Element<'s>) -> Option<IrqSource> {
    if element.attribute("irq").is_none() && !cx.is_misspelt(element, "irq") {
        let help = "add `irq` on Arm and RISC-V, or `pin` or `pcidev` on x86";
        cx.error_help(&element.span, "`irq` does not say which interrupt it is", help);
        return None;
    }
    let trigger = trigger(cx, element);
    let number = required_decimal(cx, element, "irq", u64::from(u32::MAX))?;
    Some(IrqSource::Number { number: u32::try_from(number).ok()?, trigger })
}

fn read_io_apic<'s>(cx: &mut Context<'s>, element: &Element<'s>) -> Option<IrqSource> {
    let trigger = trigger(cx, element);
    let polarities = [("high", Polarity::High), ("low", Polarity::Low)];
    let polarity = cx.choice(element, "polarity", polarities);
    let ioapic = cx.number_or(element, "ioapic", (0, u64::MAX), 0);
    let pin = required_decimal(cx, element, "pin", u64::MAX);
    let vector = required_decimal(cx, element, "vector", MAX_VECTOR);
    let vector = u8::try_from(vector?).ok()?;
    Some(IrqSource::IoApic { ioapic, pin: pin?, vector, trigger, polarity })
}

fn read_msi<'s>(cx: &mut Context<'s>, element: &Element<'s>) -> Option<IrqSource> {
    let device = pci_device(cx, element, "pcidev");
    let handle = cx.required(element, "handle").and_then(|attribute| cx.number(attribute));
    let vector = required_decimal(cx, element, "vector", MAX_VECTOR);
    let vector = u8::try_from(vector?).ok()?;
    Some(IrqSource::Msi { device: device?, handle: handle?, vector })
}

/// A required PCI address.
fn pci_device<'s>(cx: &mut Context<'s>, element: &Element<'s>, name: &'static str) -> Option<PciDevice> {
    let attribute = cx.required(element, name)?;
    let device = attribute.value.parse().ok();
    if device.is_none() {
        cx.error_help(
            &attribute.span,
            format!("`{name}` is {}, which is not a PCI device", quoted(&attribute.value)),
            "write `bus:dev.func` in hexadecimal: 0 to ff, 0 to 1f, 0 to 7",
        );
    }
    device
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pci_addresses() {
        let device = PciDevice { bus: 255, device: 31, function: 7 };
        assert_eq!("ff:1f.7".parse(), Ok(device));
        assert_eq!("0:0.0".parse(), Ok(PciDevice { bus: 0, device: 0, function: 0 }));
        for text in ["", "0:0", "0.0", "100:0.0", "0:20.0", "0:0.8", "0x1:0.0", ":0.0", "0:0.0 "] {
            assert_eq!(text.parse::<PciDevice>(), Err(()), "{text}");
        }
    }
}
