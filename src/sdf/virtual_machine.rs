//! `virtual_machine`: a guest that a PD monitors.

#![forbid(unsafe_code)]

use super::arch::ArchSet;
use super::build::Builder;
use super::context::{Shape, quoted};
use super::document::Element;
use super::domains;
use super::limits::MAX_ID;
use super::map::{AddressSpace, Owner};
use super::protection_domain::{Scheduling, scheduling};
use super::setvar::{self, Value};
use super::system::{Map, PdIndex, SetVarValue, Span};

/// One `virtual_machine`.
#[derive(Clone, Debug, PartialEq)]
pub struct VirtualMachine {
    /// Unique among the virtual machines.
    pub name: String,
    /// Priority, budget and period of its virtual CPUs.
    pub scheduling: Scheduling,
    /// At least one.
    pub vcpus: Vec<Vcpu>,
    /// Mapped regions at guest addresses, ascending, not overlapping.
    pub maps: Vec<Map>,
    /// The element's start tag.
    pub span: Span,
}

/// One `vcpu`.
#[derive(Clone, Debug, PartialEq)]
pub struct Vcpu {
    /// 0 to 61, unique among the vcpus and children of the PD.
    pub id: u8,
    /// The CPU the file asks for; `None` where it says nothing.
    pub cpu: Option<u32>,
    /// The `vcpu` element.
    pub span: Span,
}

const SHAPE: Shape =
    Shape { attributes: &["name", "priority", "budget", "period"], children: &["vcpu", "map"] };

const VCPU_SHAPE: Shape = Shape { attributes: &["id", "cpu", "setvar_id"], children: &[] };

/// Reads the `virtual_machine` of the PD `pd`.
pub(super) fn read<'s>(b: &mut Builder<'s>, element: &Element<'s>, pd: PdIndex) {
    b.cx.shape(element, &SHAPE);
    b.cx.unsupported("virtual_machine", &element.span);
    let archs = ArchSet::X86_64.or(ArchSet::AARCH64);
    b.cx.require_arch(archs, "`virtual_machine`", &element.span);
    let name = b.cx.name(element).unwrap_or_default();
    if let Some(other) = b.vm_names.get(&name) {
        let message = format!("there are two virtual machines {}", quoted(&name));
        let help = format!("the first is at {}", b.cx.line_of(other));
        let span = element.attribute("name").map_or(&element.span, |name| &name.span);
        b.cx.error_help(span, message, help);
    } else if !name.is_empty() {
        b.vm_names.insert(name.clone(), element.span.clone());
    }
    for attribute in &element.attributes {
        if ["priority", "budget", "period"].contains(&attribute.name) {
            let what = format!("`{}` of a virtual machine", attribute.name);
            b.cx.require_arch(ArchSet::AARCH64, &what, &attribute.span);
        }
    }
    let (scheduling, _) = scheduling(&mut b.cx, element);
    let vcpus: Vec<Option<Vcpu>> =
        element.children_called("vcpu").map(|vcpu| read_vcpu(b, vcpu, pd)).collect();
    if vcpus.is_empty() {
        let message = "a virtual machine has at least one `vcpu`";
        b.cx.error_help(&element.span, message, "add <vcpu id=\"0\"/>");
    }
    if let Some(second) = element.children_called("vcpu").nth(1) {
        b.cx.require_arch(ArchSet::AARCH64, "a second `vcpu`", &second.span);
    }
    let top = b.cx.options.arch.user_top();
    let mut space = AddressSpace { owner: Owner::Vm(pd), top, maps: Vec::new() };
    for map in element.children_called("map") {
        super::map::read(b, map, &mut space);
    }
    b.spaces.push(space);
    b.pds[pd.0].pd.virtual_machine = Some(VirtualMachine {
        name,
        scheduling,
        vcpus: vcpus.into_iter().flatten().collect(),
        maps: Vec::new(),
        span: element.span.clone(),
    });
}

fn read_vcpu<'s>(b: &mut Builder<'s>, element: &Element<'s>, pd: PdIndex) -> Option<Vcpu> {
    b.cx.shape(element, &VCPU_SHAPE);
    b.cx.unsupported("vcpu", &element.span);
    let cpu = b.cx.cpu(element);
    domains::check_cpu(b, element, cpu);
    let id = b.cx.id(element, MAX_ID)?;
    b.claim_child_id(pd, id, element);
    if let Some(attribute) = element.attribute("setvar_id") {
        setvar::set(b, pd, attribute, "setvar_id", Value::Known(SetVarValue::Id(id)));
    }
    Some(Vcpu { id, cpu, span: element.span.clone() })
}

/// On x86_64 the PD of a virtual machine waits in the guest: it has no children and serves nobody.
pub(super) fn check(b: &mut Builder<'_>) {
    let has_vm = |b: &Builder<'_>, pd: PdIndex| b.pds[pd.0].pd.virtual_machine.is_some();
    let mut only_arm: Vec<(Span, &str)> = Vec::new();
    for draft in &b.pds {
        if let Some((parent, _)) = draft.pd.parent
            && has_vm(b, parent)
        {
            only_arm.push((draft.pd.span.clone(), "a child of a PD with a virtual machine"));
        }
    }
    for channel in &b.channels {
        let [one, other] = &channel.ends;
        for (caller, callee) in [(one, other), (other, one)] {
            if caller.pp && has_vm(b, callee.pd) {
                only_arm.push((caller.span.clone(), "a call to a PD with a virtual machine"));
            }
        }
    }
    for (span, what) in only_arm {
        b.cx.require_arch(ArchSet::AARCH64, what, &span);
    }
}
