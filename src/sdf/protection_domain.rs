//! `protection_domain` and `program_image`.

#![forbid(unsafe_code)]

use std::path::PathBuf;

use super::arch::ArchSet;
use super::build::{Builder, PdDraft};
use super::context::{Context, Shape, quoted};
use super::document::Element;
use super::limits::{
    DEFAULT_BUDGET_US, DEFAULT_STACK, IPC_BUFFER, MAX_ID, MAX_PD_NAME, MAX_PDS, MAX_PRIORITY, MAX_STACK,
    MIN_STACK, MONITOR,
};
use super::map::{AddressSpace, Owner};
use super::setvar::{self, Value};
use super::system::{PdIndex, ProgramImage, ProtectionDomain, SetVarValue};
use super::{domains, ioport, irq, map, virtual_machine};

/// How a PD or a virtual machine is given time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scheduling {
    /// 0 to 254.
    pub priority: u8,
    /// Microseconds, at least 1 and at most `period_us`.
    pub budget_us: u64,
    /// Microseconds.
    pub period_us: u64,
}

const SHAPE: Shape = Shape {
    attributes: &[
        "name",
        "priority",
        "budget",
        "period",
        "passive",
        "stack_size",
        "cpu",
        "smc",
        "fpu",
        "domain",
        "id",
        "setvar_id",
    ],
    children: &[
        "program_image",
        "map",
        "setvar",
        "irq",
        "ioport",
        "cspace",
        "protection_domain",
        "virtual_machine",
    ],
};

const IMAGE_SHAPE: Shape = Shape { attributes: &["path", "path_for_symbols"], children: &[] };

/// Reads a `protection_domain` with everything in it but `cspace`, which names other PDs. Recursive:
/// the depth of a document is bounded.
pub(super) fn read<'e, 's>(
    b: &mut Builder<'s>,
    element: &'e Element<'s>,
    parent: Option<PdIndex>,
    cspaces: &mut Vec<(PdIndex, &'e Element<'s>)>,
) {
    b.cx.shape(element, &SHAPE);
    if b.pds.len() == MAX_PDS {
        b.cx.error(&element.span, format!("there are more than {MAX_PDS} protection domains"));
    }
    let pd = PdIndex(b.pds.len());
    let name = read_name(b, element, pd);
    let parent = read_parent(b, element, parent);
    let (scheduling, priority) = scheduling(&mut b.cx, element);
    let passive = b.cx.boolean(element, "passive", false);
    let smc = b.cx.boolean(element, "smc", false);
    if let (true, Some(attribute)) = (smc, element.attribute("smc")) {
        b.cx.unsupported("smc=\"true\"", &attribute.span);
        b.cx.require_arch(ArchSet::AARCH64, "`smc`", &attribute.span);
    }
    let cpu = b.cx.cpu(element);
    domains::check_cpu(b, element, cpu);
    let stack_size = stack_size(&mut b.cx, element);
    let domain = domains::of_pd(b, element);
    b.pds.push(PdDraft::new(
        ProtectionDomain {
            name,
            priority: scheduling.priority,
            budget_us: scheduling.budget_us,
            period_us: scheduling.period_us,
            passive,
            stack_size,
            cpu,
            parent,
            domain,
            fpu: b.cx.boolean(element, "fpu", true),
            smc,
            image: read_image(&mut b.cx, element),
            maps: Vec::new(),
            setvars: Vec::new(),
            irqs: Vec::new(),
            ioports: Vec::new(),
            cspace: Vec::new(),
            virtual_machine: None,
            span: element.span.clone(),
        },
        priority,
    ));
    read_children(b, element, pd, cspaces);
}

fn read_children<'e, 's>(
    b: &mut Builder<'s>,
    element: &'e Element<'s>,
    pd: PdIndex,
    cspaces: &mut Vec<(PdIndex, &'e Element<'s>)>,
) {
    let top = b.cx.options.arch.user_top() - b.pds[pd.0].pd.stack_size - IPC_BUFFER;
    let mut space = AddressSpace { owner: Owner::Pd(pd), top, maps: Vec::new() };
    let vm = b.cx.at_most_one(element, "virtual_machine");
    for child in &element.children {
        match child.name {
            "map" => map::read(b, child, &mut space),
            "setvar" => setvar::read(b, child, pd),
            "irq" => irq::read(b, child, pd),
            "ioport" => ioport::read(b, child, pd),
            "protection_domain" => read(b, child, Some(pd), cspaces),
            "virtual_machine" if vm.is_some_and(|first| std::ptr::eq(first, child)) => {
                virtual_machine::read(b, child, pd);
            }
            // The rest is there once, and what is unknown has been reported.
            _ => {}
        }
    }
    b.spaces.push(space);
    if let Some(child) = b.cx.at_most_one(element, "cspace") {
        cspaces.push((pd, child));
    }
}

fn read_name<'s>(b: &mut Builder<'s>, element: &Element<'s>, pd: PdIndex) -> String {
    let name = b.cx.name(element);
    let (Some(name), Some(attribute)) = (name, element.attribute("name")) else {
        return String::new();
    };
    if name == MONITOR {
        let message = format!("`{MONITOR}` is the name of Microkit's own protection domain");
        b.cx.error_help(&attribute.span, message, "choose another name");
    }
    if name.len() > MAX_PD_NAME {
        let message = format!("the name has {} bytes, but may have {MAX_PD_NAME}", name.len());
        b.cx.error(&attribute.span, message);
    }
    if let Some(first) = b.pd_names.get(&name) {
        let message = format!("there are two protection domains {}", quoted(&name));
        let help = format!("the first is at {}", b.cx.line_of(&b.pds[first.0].pd.span));
        b.cx.error_help(&attribute.span, message, help);
    } else {
        b.pd_names.insert(name.clone(), pd);
    }
    name
}

/// `id` and `setvar_id`: what a child is to its parent.
fn read_parent<'s>(
    b: &mut Builder<'s>,
    element: &Element<'s>,
    parent: Option<PdIndex>,
) -> Option<(PdIndex, u8)> {
    let Some(parent) = parent else {
        for attribute in ["id", "setvar_id"].into_iter().filter_map(|name| element.attribute(name)) {
            let message = format!("`{}` is for a child, but this has no parent", attribute.name);
            b.cx.error_help(&attribute.span, message, "remove it");
        }
        return None;
    };
    let attribute = b.cx.required(element, "id")?;
    let id = b.cx.number(attribute)?;
    let id = u8::try_from(b.cx.within(attribute, id, 0, u64::from(MAX_ID))?).ok()?;
    b.claim_child_id(parent, id, element);
    if let Some(attribute) = element.attribute("setvar_id") {
        setvar::set(b, parent, attribute, "setvar_id", Value::Known(SetVarValue::Id(id)));
    }
    Some((parent, id))
}

/// `priority`, `budget` and `period`; then the priority once more, unless it is wrong.
pub(super) fn scheduling<'s>(cx: &mut Context<'s>, element: &Element<'s>) -> (Scheduling, Option<u8>) {
    let priority = match element.attribute("priority") {
        None => Some(0),
        Some(attribute) => cx
            .number(attribute)
            .and_then(|priority| cx.within(attribute, priority, 0, MAX_PRIORITY))
            .and_then(|priority| u8::try_from(priority).ok()),
    };
    let budget = element.attribute("budget");
    let period = element.attribute("period");
    let mut microseconds = |attribute| {
        let number = cx.number(attribute)?;
        if number == 0 {
            cx.error(&attribute.span, format!("`{}` is 0", attribute.name));
        }
        Some(number)
    };
    let given_budget = budget.and_then(&mut microseconds);
    let budget_us = given_budget.unwrap_or(DEFAULT_BUDGET_US);
    let period_us = period.and_then(&mut microseconds).unwrap_or(budget_us);
    // What is no number, or 0, has been reported.
    if let Some(period) = period
        && (budget.is_none() || given_budget.is_some())
        && period_us != 0
        && budget_us > period_us
    {
        let help = match budget {
            Some(_) => "lengthen `period` or shorten `budget`".to_owned(),
            None => format!("`budget` is {DEFAULT_BUDGET_US} where it is not given"),
        };
        let message = format!("`budget` ({budget_us}) is longer than `period` ({period_us})");
        cx.error_help(&period.span, message, help);
    }
    (Scheduling { priority: priority.unwrap_or(0), budget_us, period_us }, priority)
}

fn stack_size<'s>(cx: &mut Context<'s>, element: &Element<'s>) -> u64 {
    let Some(attribute) = element.attribute("stack_size") else {
        return DEFAULT_STACK;
    };
    let Some(size) = cx.number(attribute) else {
        return DEFAULT_STACK;
    };
    if !(MIN_STACK..=MAX_STACK).contains(&size) {
        let message = format!("`stack_size` is {size:#x}, but must be {MIN_STACK:#x} to {MAX_STACK:#x}");
        cx.error(&attribute.span, message);
        return DEFAULT_STACK;
    }
    if !size.is_multiple_of(MIN_STACK) {
        let message = format!("`stack_size` is {size:#x}, which is not a multiple of {MIN_STACK:#x}");
        cx.error(&attribute.span, message);
        return DEFAULT_STACK;
    }
    size
}

fn read_image<'s>(cx: &mut Context<'s>, element: &Element<'s>) -> ProgramImage {
    let missing = ProgramImage { path: PathBuf::new(), path_for_symbols: None, span: 0..0 };
    let Some(image) = cx.at_most_one(element, "program_image") else {
        // One that is misspelt has been reported as an unknown element.
        let message = format!("{} has no `program_image`", quoted(element.name));
        cx.error_help(&element.span, message, "add <program_image path=\"…\"/>");
        return missing;
    };
    cx.shape(image, &IMAGE_SHAPE);
    let mut path = |attribute: Option<&super::document::Attribute<'s>>| {
        let attribute = attribute?;
        if attribute.value.is_empty() {
            cx.error(&attribute.span, format!("`{}` is empty", attribute.name));
        }
        Some(PathBuf::from(&attribute.value))
    };
    let path_for_symbols = path(image.attribute("path_for_symbols"));
    let given = path(image.attribute("path"));
    let Some(path) = given else {
        cx.required(image, "path");
        return missing;
    };
    let span = image.attribute("path").map(|attribute| attribute.value_span(cx.source));
    ProgramImage { path, path_for_symbols, span: span.unwrap_or(0..0) }
}
