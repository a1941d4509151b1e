//! Memory regions: who may write, who may execute, and what lies beside what.

#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};

use super::{Finding, kinds};
use crate::report::words::{list, quoted};
use crate::sdf::{Map, MemoryRegion, PdIndex, RegionIndex, System};

/// A PD, or the virtual machine in it, whose memory is not the PD's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Holder {
    pd: PdIndex,
    guest: bool,
}

impl Holder {
    fn name(self, system: &System) -> String {
        let pd = system.pd(self.pd);
        match (&pd.virtual_machine, self.guest) {
            (Some(machine), true) => format!("virtual machine {}", quoted(&machine.name)),
            _ => format!("PD {}", quoted(&pd.name)),
        }
    }
}

/// The maps of each region, with whose they are.
fn maps_of_regions(system: &System) -> BTreeMap<RegionIndex, Vec<(Holder, &Map)>> {
    let mut all: BTreeMap<RegionIndex, Vec<(Holder, &Map)>> = BTreeMap::new();
    for (pd, own) in system.indexed_pds() {
        let guests = own.virtual_machine.iter().flat_map(|machine| &machine.maps);
        let maps = own.maps.iter().map(|map| (false, map)).chain(guests.map(|map| (true, map)));
        for (guest, map) in maps {
            all.entry(map.region).or_default().push((Holder { pd, guest }, map));
        }
    }
    all
}

pub(super) fn find(system: &System, found: &mut Vec<Finding>) {
    let joined = joined(system);
    for (index, maps) in maps_of_regions(system) {
        let region = system.region(index);
        writers_and_executors(system, region, &maps, found);
        different_rights(system, region, &maps, found);
        without_channel(system, region, &maps, &joined, found);
    }
    for pd in &system.pds {
        let guest = pd.virtual_machine.as_ref().map(|machine| machine.maps.as_slice());
        for maps in [Some(pd.maps.as_slice()), guest].into_iter().flatten() {
            without_guard(system, maps, found);
        }
    }
}

fn writers_and_executors(
    system: &System,
    region: &MemoryRegion,
    maps: &[(Holder, &Map)],
    found: &mut Vec<Finding>,
) {
    let name = quoted(&region.name);
    let written: Vec<_> = maps.iter().filter(|(_, map)| map.perms.write).collect();
    for (holder, map) in maps.iter().filter(|(_, map)| map.perms.execute) {
        let who = holder.name(system);
        if let Some((_, own)) = written.iter().find(|(writer, _)| writer == holder) {
            let message = format!("{who} may write and execute region {name}");
            let finding = Finding::new(&kinds::MAP_WRITABLE_EXECUTABLE, &map.span, message)
                .help("give it either w or x, and the other to another PD");
            let elsewhere = (own.span != map.span).then(|| (own.span.clone(), "it writes here".to_owned()));
            found.push(finding.related(elsewhere));
        } else if !written.is_empty() {
            let writers = distinct(system, &written);
            let message = format!("{who} executes region {name}, which {} may write", list(&writers));
            let places = written
                .iter()
                .map(|(writer, map)| (map.span.clone(), format!("{} writes here", writer.name(system))));
            found.push(
                Finding::new(&kinds::REGION_WRITTEN_AND_EXECUTED, &map.span, message)
                    .help("whoever writes it decides what runs there")
                    .related(places),
            );
        }
    }
    let writers = distinct(system, &written);
    let (lint, help) = match writers.len() {
        0 | 1 => return,
        2 => (&kinds::REGION_WRITABLE_AT_BOTH_ENDS, "where data flows one way, map it r for the reader"),
        _ => (&kinds::REGION_WRITABLE_BY_MANY, "give each writer a region of its own"),
    };
    let message = format!("region {name} may be written by {}", list(&writers));
    let places = written
        .iter()
        .map(|(writer, map)| (map.span.clone(), format!("{} writes here", writer.name(system))));
    found.push(Finding::new(lint, &region.span, message).help(help).related(places));
}

/// The names of those who map, each once, in the order of the system.
fn distinct(system: &System, maps: &[&(Holder, &Map)]) -> Vec<String> {
    let holders: BTreeSet<Holder> = maps.iter().map(|(holder, _)| *holder).collect();
    holders.into_iter().map(|holder| holder.name(system)).collect()
}

fn different_rights(
    system: &System,
    region: &MemoryRegion,
    maps: &[(Holder, &Map)],
    found: &mut Vec<Finding>,
) {
    let mut first: BTreeMap<Holder, &Map> = BTreeMap::new();
    for (holder, map) in maps {
        let Some(other) = first.get(holder) else {
            first.insert(*holder, map);
            continue;
        };
        if other.perms != map.perms {
            let (who, name) = (holder.name(system), quoted(&region.name));
            let message = format!("{who} maps region {name} as {} and as {}", other.perms, map.perms);
            found.push(
                Finding::new(&kinds::REGION_DIFFERENT_RIGHTS, &map.span, message)
                    .help("map it once: it has all these rights at any of the addresses")
                    .related([(other.span.clone(), "the other map".to_owned())]),
            );
        }
    }
}

/// Pairs of PDs that can tell each other something: by a channel, or as parent and child. Both ways round.
fn joined(system: &System) -> BTreeSet<(PdIndex, PdIndex)> {
    let channels = system.channels.iter().map(|channel| (channel.ends[0].pd, channel.ends[1].pd));
    let children = system.indexed_pds().filter_map(|(index, pd)| Some((index, pd.parent?.0)));
    channels.chain(children).flat_map(|(one, other)| [(one, other), (other, one)]).collect()
}

/// Data that somebody writes for somebody who is never told.
fn without_channel(
    system: &System,
    region: &MemoryRegion,
    maps: &[(Holder, &Map)],
    joined: &BTreeSet<(PdIndex, PdIndex)>,
    found: &mut Vec<Finding>,
) {
    let users: BTreeSet<PdIndex> = maps.iter().map(|(holder, _)| holder.pd).collect();
    let written = maps.iter().any(|(_, map)| map.perms.write);
    if users.len() < 2 || !written {
        return;
    }
    for pd in &users {
        if users.iter().any(|other| other != pd && joined.contains(&(*pd, *other))) {
            continue;
        }
        let Some((holder, map)) = maps.iter().find(|(holder, _)| holder.pd == *pd) else { continue };
        let others: Vec<String> =
            users.iter().filter(|other| *other != pd).map(|other| super::pd_name(system, *other)).collect();
        let (who, name) = (holder.name(system), quoted(&region.name));
        let message = format!("{who} shares region {name} with {}, but no channel", list(&others));
        found.push(
            Finding::new(&kinds::REGION_WITHOUT_CHANNEL, &map.span, message)
                .help("add a channel, or take the map away if the region is not needed here"),
        );
    }
}

/// `maps` ascend by address and do not overlap.
fn without_guard(system: &System, maps: &[Map], found: &mut Vec<Finding>) {
    for pair in maps.windows(2) {
        let [below, above] = pair else { continue };
        let end = below.vaddr.checked_add(system.region(below.region).size);
        if end != Some(above.vaddr) {
            continue;
        }
        let name = |map: &Map| quoted(&system.region(map.region).name);
        let message = format!(
            "region {} begins where region {} ends, at {:#x}: no guard page fits between them",
            name(above),
            name(below),
            above.vaddr
        );
        let free = above.vaddr.saturating_add(system.region(above.region).page_size);
        found.push(
            Finding::new(&kinds::MAPS_WITHOUT_GUARD, &above.span, message)
                .help(format!("leave a page between them, for example vaddr=\"{free:#x}\""))
                .related([(below.span.clone(), "the region before it".to_owned())]),
        );
    }
}
