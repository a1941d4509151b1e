//! What a valid file is read as.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use mk_sandbox::diagnostic::Diagnostic;
use mk_sandbox::sdf::cspace::{CapSlot, Object};
use mk_sandbox::sdf::domains::{DomainIndex, Duration, ScheduleEntry};
use mk_sandbox::sdf::irq::{IrqSource, PciDevice, Polarity, Trigger};
use mk_sandbox::sdf::memory_region::BootInfo;
use mk_sandbox::sdf::system::{PdIndex, ProtectionDomain, RegionIndex, SetVarValue};
use mk_sandbox::sdf::{self, System};

use super::fixtures;

fn load(name: &str) -> (System, Vec<Diagnostic>) {
    let source = sdf::read_source(&fixtures().join(format!("{name}.system"))).expect(name);
    let options = super::Expected::of(&source.text).options();
    match sdf::load(&source, &options) {
        Ok(loaded) => loaded,
        Err(errors) => panic!("{name}: {errors:?}"),
    }
}

fn system(name: &str) -> System {
    load(name).0
}

fn setvars(pd: &ProtectionDomain) -> Vec<(&str, &str, SetVarValue)> {
    pd.setvars.iter().map(|set| (&*set.symbol, set.attribute, set.value)).collect()
}

#[test]
fn the_first_example_has_nothing_to_refuse() {
    let (system, warnings) = load("valid_client_server");
    assert_eq!(warnings, []);
    assert_eq!(system.unsupported, []);
    let names: Vec<&str> = system.pds.iter().map(|pd| &*pd.name).collect();
    assert_eq!(names, ["server", "client"]);
    for pd in &system.pds {
        assert_eq!(pd.image.path, PathBuf::from(format!("{}.elf", pd.name)));
        assert_eq!((pd.priority, pd.budget_us, pd.period_us), (0, 1000, 1000));
        assert_eq!((pd.stack_size, pd.cpu, pd.passive), (0x2000, None, false));
        assert_eq!((pd.fpu, pd.smc, pd.domain, pd.parent), (true, false, None, None));
        let [map] = pd.maps.as_slice() else { panic!("{:?}", pd.maps) };
        assert_eq!((map.region, map.vaddr, map.cached), (RegionIndex(0), 0x400_0000, false));
        assert_eq!(map.perms.to_string(), "rw");
        let set = ("buffer", "setvar_vaddr", SetVarValue::Word(0x400_0000));
        assert_eq!(setvars(pd), [set]);
    }
    let region = &system.regions[0];
    assert_eq!((&*region.name, region.size, region.page_size), ("shared", 0x1000, 0x1000));
    assert_eq!((region.phys_addr, &region.prefill, region.bootinfo), (None, &None, None));
    let [channel] = system.channels.as_slice() else { panic!("{:?}", system.channels) };
    let ends = channel.ends.each_ref().map(|end| (end.pd, end.id, end.pp, end.notify));
    assert_eq!(ends, [(PdIndex(1), 1, false, true), (PdIndex(0), 2, false, true)]);
    assert_eq!(system.users_of_regions(), BTreeMap::from([(RegionIndex(0), 2)]));
}

#[test]
fn spans_are_what_they_say() {
    let source = sdf::read_source(&fixtures().join("valid_client_server.system")).expect("read");
    let system = system("valid_client_server");
    let text = |span: &std::ops::Range<usize>| &source.text[span.clone()];
    let server = &system.pds[0];
    assert_eq!(text(&server.span), "<protection_domain name=\"server\" stack_size=\"0x2000\">");
    assert_eq!(text(&server.image.span), "server.elf");
    assert_eq!(text(&server.setvars[0].span), "setvar_vaddr=\"buffer\"");
    assert!(text(&server.maps[0].span).starts_with("<map mr=\"shared\""));
    assert!(text(&server.maps[0].span).ends_with("/>"));
    let region = "<memory_region name=\"shared\" size=\"0x1000\"/>";
    assert_eq!(text(&system.regions[0].span), region);
    assert_eq!(text(&system.channels[0].span), "<channel>");
    assert_eq!(text(&system.channels[0].ends[1].span), "<end pd=\"server\" id=\"2\"/>");
}

#[test]
fn numbers_come_in_both_bases() {
    let system = system("valid_numbers");
    assert_eq!(system.regions[0].size, 4096);
    assert_eq!(system.regions[1].size, 0x2000);
    let pd = &system.pds[0];
    assert_eq!((pd.priority, pd.stack_size, pd.cpu), (254, 0x1000, Some(3)));
    assert_eq!((pd.budget_us, pd.period_us), (1000, 1000));
    let maps: Vec<_> = pd.maps.iter().map(|map| (map.region.0, map.vaddr)).collect();
    assert_eq!(maps, [(1, 0xa0_0000), (0, 0x200_0000)], "ascending by address");
}

#[test]
fn page_sizes_are_the_largest_that_fit() {
    let system = system("valid_page_sizes");
    let sizes: Vec<_> = system.regions.iter().map(|r| (&*r.name, r.page_size)).collect();
    assert_eq!(
        sizes,
        [
            ("auto_large", 0x20_0000),
            ("auto_by_vaddr", 0x1000),
            ("auto_by_size", 0x1000),
            ("auto_by_phys", 0x1000),
            ("small", 0x1000),
            ("large", 0x20_0000),
        ]
    );
}

#[test]
fn prefilled_regions_take_their_size_from_the_file() {
    let system = system("valid_prefill");
    let regions: Vec<_> = system
        .regions
        .iter()
        .map(|region| (region.size, region.prefill.as_ref().map(|(_, length)| *length)))
        .collect();
    assert_eq!(regions, [(0x2000, Some(4097)), (0x3000, Some(10)), (0x20_0000, Some(10))]);
    let (path, length) = system.regions[0].prefill.as_ref().expect("prefilled");
    assert_eq!(fs::metadata(path).expect("found").len(), *length);
    assert_eq!(
        setvars(&system.pds[0]),
        [
            ("r_used", "setvar_prefill_size", SetVarValue::Word(4097)),
            ("r_size", "setvar_size", SetVarValue::Word(0x2000)),
            ("r_base", "setvar_vaddr", SetVarValue::Word(0x100_0000)),
            ("q_used", "setvar_prefill_size", SetVarValue::Word(10)),
            ("p_size", "setvar_size", SetVarValue::Word(0x20_0000)),
        ]
    );
    let bootinfo = self::system("valid_bootinfo");
    assert_eq!(bootinfo.regions[0].bootinfo, Some(BootInfo::X86AcpiRsdp));
}

#[test]
fn invented_addresses_are_stable_and_disjoint() {
    let system = system("valid_region_paddr");
    let given = system.regions[0].phys_addr.expect("given");
    let sets = setvars(&system.pds[0]);
    let address = |symbol: &str| {
        let set = sets.iter().find(|(name, ..)| *name == symbol);
        let Some((_, "region_paddr", SetVarValue::Word(address))) = set else { panic!("{symbol}: {set:?}") };
        *address
    };
    assert_eq!(address("r_phys"), given);
    assert_eq!(address("q_phys"), address("q_again"));
    let region = |name: &str| system.regions.iter().find(|region| region.name == name);
    let mut ranges: Vec<(u64, u64)> = ["r", "q", "p"]
        .into_iter()
        .map(|name| (address(&format!("{name}_phys")), region(name).expect(name).size))
        .collect();
    ranges.sort_unstable();
    for pair in ranges.windows(2) {
        assert!(pair[0].0 + pair[0].1 <= pair[1].0, "{ranges:x?}");
    }
    assert!(ranges.iter().all(|(start, _)| start.is_multiple_of(0x1000)), "{ranges:x?}");
    assert_eq!(system, self::system("valid_region_paddr"));
}

#[test]
fn parents_stand_before_their_children() {
    let system = system("valid_children");
    let pds: Vec<_> = system.pds.iter().map(|pd| (&*pd.name, pd.parent)).collect();
    assert_eq!(
        pds,
        [
            ("top", None),
            ("left", Some((PdIndex(0), 0))),
            ("leaf", Some((PdIndex(1), 0))),
            ("right", Some((PdIndex(0), 61))),
        ]
    );
    let top = &system.pds[0];
    assert_eq!(setvars(top), [("left_id", "setvar_id", SetVarValue::Id(0))]);
    assert_eq!(top.image.path_for_symbols, Some(PathBuf::from("top.sym.elf")));
    assert_eq!((top.priority, system.pds[1].priority), (3, 2));
}

#[test]
fn channels_carry_their_rights() {
    let ppc = system("valid_ppc");
    let [caller, callee] = &ppc.channels[0].ends;
    assert_eq!((caller.pp, caller.notify, caller.id), (true, false, 0));
    assert_eq!((callee.pp, callee.notify, callee.id), (false, true, 61));
    let own = system("valid_self_channel");
    assert_eq!(own.channels[0].ends.each_ref().map(|end| end.pd), [PdIndex(0); 2]);
    assert_eq!(setvars(&own.pds[0]), [("x", "setvar_id", SetVarValue::Id(61))]);
}

#[test]
fn interrupts_of_every_kind() {
    let arm = system("valid_irqs_arm");
    let irqs: Vec<_> = arm.pds[0].irqs.iter().map(|irq| (irq.id, irq.source)).collect();
    let number = |number, trigger| IrqSource::Number { number, trigger };
    assert_eq!(
        irqs,
        [(0, number(33, Trigger::Level)), (61, number(0, Trigger::Edge)), (1, number(34, Trigger::Level)),]
    );
    assert_eq!(setvars(&arm.pds[0]), [("x", "setvar_id", SetVarValue::Id(0))]);
    let x86 = system("valid_irqs_x86");
    let sources: Vec<_> = x86.pds[0].irqs.iter().map(|irq| irq.source).collect();
    let device = PciDevice { bus: 255, device: 31, function: 7 };
    assert_eq!(
        sources,
        [
            IrqSource::IoApic {
                ioapic: 0,
                pin: 4,
                vector: 0,
                trigger: Trigger::Level,
                polarity: Polarity::High
            },
            IrqSource::IoApic {
                ioapic: 1,
                pin: 4,
                vector: 107,
                trigger: Trigger::Edge,
                polarity: Polarity::Low
            },
            IrqSource::Msi { device, handle: 0, vector: 3 },
        ]
    );
}

#[test]
fn ports_and_capabilities() {
    let ports = system("valid_ioports");
    let pd = &ports.pds[0];
    let ranges: Vec<_> = pd.ioports.iter().map(|port| (port.id, port.addr, port.size)).collect();
    assert_eq!(ranges, [(0, 0x60, 4), (61, 0x64, 0xff9c)]);
    let word = ("y", "setvar_addr", SetVarValue::Word(0x60));
    assert_eq!(setvars(pd), [("x", "setvar_id", SetVarValue::Id(0)), word]);
    let caps = system("valid_cspace");
    let slot = |cap: &CapSlot| (cap.slot, cap.object, cap.pd.0);
    let slots: Vec<_> = caps.pds[0].cspace.iter().map(slot).collect();
    assert_eq!(slots, [(1, Object::Tcb, 1), (2, Object::SchedContext, 1), (127, Object::VSpace, 0)]);
}

#[test]
fn virtual_machines_and_devices() {
    let arm = system("valid_vm_arm");
    let pd = &arm.pds[0];
    let vm = pd.virtual_machine.as_ref().expect("a virtual machine");
    assert_eq!(vm.name, "guest");
    let scheduling = vm.scheduling;
    assert_eq!((scheduling.priority, scheduling.budget_us, scheduling.period_us), (1, 100, 200));
    let vcpus: Vec<_> = vm.vcpus.iter().map(|vcpu| (vcpu.id, vcpu.cpu)).collect();
    assert_eq!(vcpus, [(0, None), (1, Some(1))]);
    let maps: Vec<_> = vm.maps.iter().map(|map| (map.vaddr, map.perms.to_string())).collect();
    assert_eq!(maps, [(0, "rwx".to_owned())]);
    assert_eq!(pd.maps.len(), 1);
    assert_eq!(setvars(pd), [("boot", "setvar_id", SetVarValue::Id(0))]);
    let x86 = system("valid_io_address_space");
    let [nic, disk] = x86.io_address_spaces.as_slice() else { panic!("two devices") };
    assert_eq!((&*nic.name, nic.peripheral_id, nic.domain_id), ("nic", 0x18, 1));
    let maps: Vec<_> = nic.maps.iter().map(|map| (map.vaddr, map.perms.to_string())).collect();
    assert_eq!(maps, [(0, "rw".to_owned()), (0x20_0000, "w".to_owned())]);
    assert_eq!((&*disk.name, disk.maps.len()), ("disk", 0));
    assert_eq!(x86.regions[0].page_size, 0x1000, "devices have small pages");
}

#[test]
fn domain_schedules() {
    let system = system("valid_domains");
    let domains = system.domains.as_ref().expect("domains");
    let named: Vec<_> = domains.domains.iter().map(|d| (&*d.name, d.id)).collect();
    assert_eq!(named, [("d0", 0), ("d1", 15)]);
    assert_eq!((domains.start_index, domains.index_shift), (2, 4));
    assert_eq!(
        domains.schedule,
        [
            ScheduleEntry::Run(DomainIndex(0), Duration::Microseconds(10)),
            ScheduleEntry::End,
            ScheduleEntry::Run(DomainIndex(1), Duration::Ticks(16)),
            ScheduleEntry::Run(DomainIndex(0), Duration::Microseconds(1000)),
            ScheduleEntry::End,
        ]
    );
    let of_pds: Vec<_> = system.pds.iter().map(|pd| pd.domain).collect();
    assert_eq!(of_pds, [Some(DomainIndex(0)), Some(DomainIndex(1))]);
}

#[test]
fn entities_in_names_are_replaced() {
    let system = system("valid_entities");
    assert_eq!(system.pds[0].name, "<\"ü");
    assert_eq!(system.regions[0].name, "a&b");
}

#[test]
fn images_are_looked_for_in_the_search_path() {
    let mut system = system("valid_client_server");
    let image = &mut system.pds[0].image;
    let error = sdf::find_image(image, &[fixtures(), PathBuf::new()]).unwrap_err();
    assert_eq!((&*error.message, &error.span), ("there is no image `server.elf`", &image.span));
    let help = error.help.expect("it says where");
    assert_eq!(help, format!("it is looked for in {}, .; see --search-path", fixtures().display()));
    image.path = PathBuf::from("valid_client_server.system");
    let found = sdf::find_image(image, &["/".into(), fixtures()]).expect("it is there");
    assert_eq!(found, fixtures().join("valid_client_server.system"));
}
