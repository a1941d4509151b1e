//! `mk-sandbox show`: a system in words, as Microkit's own report is for people: who runs how, who maps what, who
//! reaches whom, and what of the file Linux has no counterpart for.

#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};

use super::words::{Align, bytes, count, list, printable, quoted, table};
use crate::diagnostic::Source;
use crate::plan;
use crate::sdf::irq::IrqSource;
use crate::sdf::{Channel, End, Map, PdIndex, ProtectionDomain, RegionIndex, Span, System};

/// The whole report.
pub fn show(source: &Source, system: &System) -> String {
    let mut text = format!(
        "{}: {}, {}, {}\n",
        printable(&source.path.to_string_lossy()),
        count(system.pds.len(), "protection domain"),
        count(system.regions.len(), "memory region"),
        count(system.channels.len(), "channel"),
    );
    section(&mut text, "Protection domains", pds(system));
    section(&mut text, "Memory regions", regions(system));
    section(&mut text, "Channels", channels(system));
    section(&mut text, "Calls", calls(system));
    section(&mut text, "Domain schedule", domains(system));
    section(&mut text, "Devices, capabilities, virtual machines", others(system));
    section(&mut text, "Variables set in the images", variables(system));
    section(&mut text, "Without effect on Linux", places(source, inert(system)));
    section(&mut text, "What `run` refuses", places(source, refused(system)));
    text
}

fn section(text: &mut String, title: &str, body: String) {
    if !body.is_empty() {
        *text += &format!("\n{title}\n{body}");
    }
}

fn name(system: &System, pd: PdIndex) -> String {
    printable(&system.pd(pd).name)
}

/// A PD's children, in the order of the file.
fn children(system: &System, parent: Option<PdIndex>) -> Vec<PdIndex> {
    let own = |(_, pd): &(PdIndex, &ProtectionDomain)| pd.parent.map(|(parent, _)| parent) == parent;
    system.indexed_pds().filter(own).map(|(index, _)| index).collect()
}

fn pds(system: &System) -> String {
    let head = ["name", "priority", "CPU", "budget", "period", "stack", "image", ""];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    // Depth first, children below their parent: the stack holds what is still to come, in reverse.
    let mut due: Vec<(usize, PdIndex)> =
        children(system, None).into_iter().rev().map(|root| (0, root)).collect();
    while let Some((depth, index)) = due.pop() {
        rows.push(pd_row(system, depth, index));
        due.extend(children(system, Some(index)).into_iter().rev().map(|child| (depth + 1, child)));
    }
    use Align::{Left, Right};
    let table = table(2, &[Left, Right, Right, Right, Right, Right, Left, Left], &rows);
    format!("{table}  {}\n", priorities(system))
}

/// What priorities come to under Linux's schedule.
fn priorities(system: &System) -> String {
    let nice = |pd: &ProtectionDomain| plan::nice(system, pd.priority);
    let lowest = system.pds.iter().map(nice).max().unwrap_or(0);
    let range =
        if lowest == 0 { "nice 0 for all".to_owned() } else { format!("nice 0 for the highest to {lowest}") };
    format!(
        "on Linux: {range}; SCHED_FIFO with --realtime where allowed; seL4's rules with --schedule microkit"
    )
}

fn pd_row(system: &System, depth: usize, index: PdIndex) -> Vec<String> {
    let pd = system.pd(index);
    let mut remarks = Vec::new();
    if let Some((parent, id)) = pd.parent {
        remarks.push(format!("child {id} of {}", name(system, parent)));
    }
    if pd.passive {
        remarks.push("passive".to_owned());
    }
    if let (Some(domain), Some(domains)) = (pd.domain, &system.domains) {
        remarks.push(format!("domain {}", printable(&domains.domains[domain.0].name)));
    }
    vec![
        format!("{}{}", "  ".repeat(depth), printable(&pd.name)),
        pd.priority.to_string(),
        pd.cpu.map_or("any".to_owned(), |cpu| cpu.to_string()),
        format!("{} µs", pd.budget_us),
        format!("{} µs", pd.period_us),
        bytes(pd.stack_size),
        printable(&pd.image.path.to_string_lossy()),
        remarks.join(", "),
    ]
}

fn regions(system: &System) -> String {
    let users = users(system);
    let mut text = String::new();
    for (index, region) in system.regions.iter().enumerate() {
        let mut facts = vec![bytes(region.size)];
        if region.page_size != 0x1000 {
            facts.push(format!("pages of {}", bytes(region.page_size)));
        }
        if let Some(address) = region.phys_addr {
            facts.push(format!("phys_addr {address:#x}"));
        }
        if let Some((path, length)) = &region.prefill {
            let path = printable(&path.to_string_lossy());
            facts.push(format!("begins with the {} of {path}", bytes(*length)));
        }
        text += &format!("  {}: {}\n", printable(&region.name), facts.join(", "));
        match users.get(&RegionIndex(index)) {
            None => text += "    mapped nowhere\n",
            Some(rows) => text += &table(4, &[Align::Left; 4], rows),
        }
    }
    text
}

/// Who maps each region: whose, rights, addresses, remarks.
fn users(system: &System) -> BTreeMap<RegionIndex, Vec<Vec<String>>> {
    let mut users: BTreeMap<RegionIndex, Vec<Vec<String>>> = BTreeMap::new();
    let mut add = |who: String, map: &Map, remarks: Vec<String>| {
        let end = map.vaddr.saturating_add(system.region(map.region).size);
        let place = format!("{:#x}..{end:#x}", map.vaddr);
        let row = vec![who, map.perms.to_string(), place, remarks.join(", ")];
        users.entry(map.region).or_default().push(row);
    };
    for pd in &system.pds {
        // What a map sets stands inside it; both are in the order of the file, if each is sorted by place.
        for map in &pd.maps {
            let inside = |span: &Span| map.span.start <= span.start && span.end <= map.span.end;
            let first = pd.setvars.partition_point(|setvar| setvar.span.start < map.span.start);
            let set = pd.setvars[first..].iter().take_while(|setvar| inside(&setvar.span));
            let mut remarks: Vec<String> =
                set.map(|setvar| format!("{} {}", setvar.attribute, printable(&setvar.symbol))).collect();
            if !map.cached {
                remarks.push("cached=\"false\"".to_owned());
            }
            add(printable(&pd.name), map, remarks);
        }
        if let Some(machine) = &pd.virtual_machine {
            for map in &machine.maps {
                add(format!("{} (virtual machine)", printable(&machine.name)), map, Vec::new());
            }
        }
    }
    for space in &system.io_address_spaces {
        for map in &space.maps {
            add(format!("{} (device)", printable(&space.name)), map, Vec::new());
        }
    }
    users
}

fn channels(system: &System) -> String {
    let way = |from: &End, to: &End| {
        let rights = [(from.pp, "calls"), (from.notify, "notifies")];
        let rights: Vec<String> =
            rights.into_iter().filter(|(on, _)| *on).map(|(_, right)| right.to_owned()).collect();
        vec![
            name(system, from.pd),
            from.id.to_string(),
            format!("→ {}", name(system, to.pd)),
            to.id.to_string(),
            list(&rights),
        ]
    };
    let both = |channel: &Channel| {
        let [one, other] = &channel.ends;
        [way(one, other), way(other, one)]
    };
    let rows: Vec<Vec<String>> = system.channels.iter().flat_map(both).collect();
    use Align::{Left, Right};
    table(2, &[Left, Right, Left, Right, Left], &rows)
}

/// Who calls whom, each PD's callees below it. A PD's own calls are told once; calls lead to higher priorities only, so
/// there is an end.
fn calls(system: &System) -> String {
    let callees = |caller: PdIndex| {
        let mut callees: Vec<PdIndex> = system
            .channels
            .iter()
            .flat_map(|channel| {
                let [one, other] = &channel.ends;
                [(one, other), (other, one)]
            })
            .filter(|(from, _)| from.pp && from.pd == caller)
            .map(|(_, to)| to.pd)
            .collect();
        callees.sort();
        callees.dedup();
        callees
    };
    let called: BTreeSet<PdIndex> = system.indexed_pds().flat_map(|(index, _)| callees(index)).collect();
    let first = |index: &PdIndex| !called.contains(index) && !callees(*index).is_empty();
    let mut due: Vec<(usize, PdIndex)> =
        system.indexed_pds().map(|(index, _)| (0, index)).filter(|(_, index)| first(index)).collect();
    due.reverse();
    let mut told = BTreeSet::new();
    let mut text = String::new();
    while let Some((depth, index)) = due.pop() {
        let arrow = if depth == 0 { "" } else { "→ " };
        let indent = "  ".repeat(depth + 1);
        text += &format!("{indent}{arrow}{} ({})", name(system, index), system.pd(index).priority);
        let callees = callees(index);
        if told.insert(index) {
            due.extend(callees.into_iter().rev().map(|callee| (depth + 1, callee)));
        } else if !callees.is_empty() {
            text += ", see above";
        }
        text.push('\n');
    }
    text
}

fn domains(system: &System) -> String {
    use crate::sdf::domains::{Duration, ScheduleEntry};
    let Some(domains) = &system.domains else { return String::new() };
    let mut text = String::new();
    for (index, entry) in domains.schedule.iter().enumerate() {
        let words = match entry {
            ScheduleEntry::Run(domain, duration) => {
                let length = match duration {
                    Duration::Microseconds(us) => format!("{us} µs"),
                    Duration::Ticks(ticks) => count(usize::try_from(*ticks).unwrap_or(usize::MAX), "tick"),
                };
                format!("{} for {length}", printable(&domains.domains[domain.0].name))
            }
            ScheduleEntry::End => "begins again".to_owned(),
        };
        let start = if index == domains.start_index { ", runs first" } else { "" };
        text += &format!("  {index}: {words}{start}\n");
    }
    text
}

/// Interrupts, ports, capabilities and guests of each PD.
fn others(system: &System) -> String {
    let mut rows = Vec::new();
    for pd in &system.pds {
        let mut row = |what: String| rows.push(vec![printable(&pd.name), what]);
        for irq in &pd.irqs {
            row(format!("channel {}: {}", irq.id, interrupt(irq.source)));
        }
        for port in &pd.ioports {
            let last = u32::from(port.addr) + port.size.saturating_sub(1);
            row(format!("ioport {}: {:#x}..={last:#x}", port.id, port.addr));
        }
        for cap in &pd.cspace {
            use crate::sdf::cspace::Object;
            let object = match cap.object {
                Object::Tcb => "thread",
                Object::SchedContext => "scheduling context",
                Object::VSpace => "address space",
            };
            row(format!("slot {}: the {object} of {}", cap.slot, name(system, cap.pd)));
        }
        if let Some(machine) = &pd.virtual_machine {
            let vcpus = count(machine.vcpus.len(), "virtual CPU");
            row(format!("virtual machine {}: {vcpus}", printable(&machine.name)));
        }
    }
    for space in &system.io_address_spaces {
        rows.push(vec![printable(&space.name), format!("device with {}", count(space.maps.len(), "map"))]);
    }
    table(2, &[Align::Left; 2], &rows)
}

/// An interrupt's source in words.
pub(crate) fn interrupt(source: IrqSource) -> String {
    match source {
        IrqSource::Number { number, .. } => format!("irq {number}"),
        IrqSource::IoApic { ioapic, pin, vector, .. } => {
            format!("irq of pin {pin} of I/O APIC {ioapic}, vector {vector}")
        }
        IrqSource::Msi { device, vector, .. } => {
            let (bus, slot, function) = (device.bus, device.device, device.function);
            format!("irq of PCI device {bus:02x}:{slot:02x}.{function}, vector {vector}")
        }
    }
}

fn variables(system: &System) -> String {
    use crate::sdf::SetVarValue;
    let mut rows = Vec::new();
    for pd in &system.pds {
        for setvar in &pd.setvars {
            let value = match setvar.value {
                SetVarValue::Word(word) => format!("{word:#x}"),
                SetVarValue::Id(id) => id.to_string(),
            };
            let variable = format!("{} = {value}", printable(&setvar.symbol));
            rows.push(vec![printable(&pd.name), variable, setvar.attribute.to_owned()]);
        }
    }
    table(2, &[Align::Left; 3], &rows)
}

/// What is valid, kept, and changes nothing here.
fn inert(system: &System) -> Vec<(Span, String)> {
    let mut found = Vec::new();
    for region in system.regions.iter().filter(|region| region.phys_addr.is_some()) {
        let what = format!("region {} is ordinary memory, no device stands behind it", quoted(&region.name));
        found.push((region.span.clone(), what));
    }
    for pd in &system.pds {
        let pd_name = quoted(&pd.name);
        for irq in &pd.irqs {
            let what = format!("{} of PD {pd_name} never arrives", interrupt(irq.source));
            found.push((irq.span.clone(), what));
        }
        for port in &pd.ioports {
            found.push((port.span.clone(), format!("ioport {} of PD {pd_name} reaches no device", port.id)));
        }
        for map in pd.maps.iter().filter(|map| !map.cached) {
            let region = quoted(&system.region(map.region).name);
            found.push((map.span.clone(), format!("PD {pd_name} maps {region} uncached: memory is cached")));
        }
        if !pd.fpu {
            found.push((pd.span.clone(), format!("PD {pd_name} has fpu=\"false\": every PD may use it")));
        }
    }
    found
}

fn refused(system: &System) -> Vec<(Span, String)> {
    system.unsupported.iter().map(|what| (what.span.clone(), printable(&what.what))).collect()
}

/// One line each, with the place in the file, in its order.
fn places(source: &Source, mut found: Vec<(Span, String)>) -> String {
    found.sort_by_key(|(span, _)| span.start);
    let row = |(span, what): (Span, String)| {
        let (line, column) = source.position(span.start);
        vec![format!("{line}:{column}"), what]
    };
    let rows: Vec<Vec<String>> = found.into_iter().map(row).collect();
    table(2, &[Align::Left; 2], &rows)
}
