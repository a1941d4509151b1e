//! Memory: every mapping of the PD is one that the plan accounts for, at its rights, and sealed.

#![forbid(unsafe_code)]

use std::fs;
use std::io;

use super::{Checks, Scene};
use crate::launch::RunningPd;
use crate::plan::PAGE;
use crate::sys::procfs::{self, Mapping};

/// The C runtime's own files, as the image reader allows them.
const RUNTIME: [&str; 4] = ["libc.so.6", "libm.so.6", "libgcc_s.so.1", "ld-linux-x86-64.so.2"];

pub(super) fn check(scene: &Scene, pd: &RunningPd, checks: &mut Checks) -> io::Result<()> {
    let maps = procfs::maps(pd.child.pid)?;
    let plan = checks.pd;
    for map in &plan.maps {
        let rights = format!(
            "{}{}{}s",
            if map.perms.read { 'r' } else { '-' },
            if map.perms.write { 'w' } else { '-' },
            if map.perms.execute { 'x' } else { '-' }
        );
        let range = format!("{:#x}..{:#x}", map.vaddr, map.end());
        let expected = format!("{range} {rights} {}", memfd(&map.name));
        checks.equal("regions", expected, at(&maps, map.vaddr, map.end()));
    }
    for guard in &plan.guards {
        let expected = format!("{:#x}..{:#x} ---p ", guard.vaddr, guard.vaddr + guard.size);
        checks.equal("guards", expected, at(&maps, guard.vaddr, guard.vaddr + guard.size));
    }
    channel_memory(scene, &maps, checks);

    let image = format!("/{}", scene.launch.images[pd.index.0].name);
    let program = fs::read_link("/proc/self/exe")?.to_string_lossy().into_owned();
    let strangers: Vec<String> = maps
        .iter()
        .filter(|map| !accounted_for(scene, checks, map, &image, &program))
        .map(|map| format!("{:#x}..{:#x} {} {}", map.start, map.end, map.rights, map.name))
        .collect();
    checks.none("mappings", "none that the plan does not account for", &strangers);
    let both: Vec<String> = maps
        .iter()
        .filter(|map| map.rights.contains('w') && map.rights.contains('x'))
        .filter(|map| !plan.maps.iter().any(|region| (region.vaddr..region.end()).contains(&map.start)))
        .map(|map| map.name.clone())
        .collect();
    checks.none("writable-and-executable", "nothing", &both);
    let missing = if scene.launch.without.mseal { Vec::new() } else { unsealed(pd)? };
    let expected = if scene.launch.without.mseal { "left out by the tier" } else { "every mapping" };
    checks.none("sealed", expected, &missing);
    Ok(())
}

fn memfd(name: &str) -> String {
    format!("/memfd:{} (deleted)", name.chars().take(60).collect::<String>())
}

/// The mapping that covers exactly this range; adjacent mappings of one kind appear as one, so a part of a larger one counts.
fn at(maps: &[Mapping], start: u64, end: u64) -> String {
    match maps.iter().find(|map| map.start <= start && end <= map.end) {
        Some(map) => format!("{start:#x}..{end:#x} {} {}", map.rights, map.name),
        None => "not mapped".into(),
    }
}

/// Own channel memory read-write and whole; of each peer, page 0 and the pages of the shared channels, read-only.
fn channel_memory(scene: &Scene, maps: &[Mapping], checks: &mut Checks) {
    let plan = checks.pd;
    for peer in &scene.launch.plan.pds {
        let pages: Vec<u64> = if peer.index == plan.index {
            (0..plan.channel_pages).collect()
        } else {
            let shared = plan.ends.iter().filter(|end| end.peer == peer.index);
            let mut pages: Vec<u64> = shared.map(|end| end.incoming.page).collect();
            if !pages.is_empty() {
                pages.push(0);
            }
            pages.sort_unstable();
            pages
        };
        let own = if peer.index == plan.index { "rw-s" } else { "r--s" };
        let name = memfd(&format!("channels:{}", peer.name));
        let mut found: Vec<(u64, &str)> = maps
            .iter()
            .filter(|map| map.name == name)
            .flat_map(|map| {
                let pages = (map.end - map.start) / PAGE;
                (0..pages).map(|page| (map.offset / PAGE + page, map.rights.as_str()))
            })
            .collect();
        found.sort_unstable();
        let expected: Vec<(u64, &str)> = pages.into_iter().map(|page| (page, own)).collect();
        if !expected.is_empty() || !found.is_empty() {
            checks.equal(
                "channel-memory",
                format!("of `{}`: {expected:?}", peer.name),
                format!("of `{}`: {found:?}", peer.name),
            );
        }
    }
}

fn accounted_for(scene: &Scene, checks: &Checks, map: &Mapping, image: &str, program: &str) -> bool {
    let plan = checks.pd;
    let name = map.name.as_str();
    let shared = map.rights.ends_with('s');
    if shared {
        let region = plan
            .maps
            .iter()
            .any(|region| memfd(&region.name) == name && (region.vaddr..region.end()).contains(&map.start));
        let channels = scene.launch.plan.pds.iter().any(|peer| {
            let related = peer.index == plan.index || plan.ends.iter().any(|end| end.peer == peer.index);
            related && memfd(&format!("channels:{}", peer.name)) == name
        });
        let supervisor = !plan.children.is_empty() && memfd(&format!("supervisor:{}", plan.name)) == name;
        return region || channels || supervisor;
    }
    let file = name.rsplit('/').next().unwrap_or("");
    let anonymous = name.is_empty() || name.starts_with('[');
    anonymous
        || name == image
        || name == program
        || name == memfd("libmicrokit.so")
        || RUNTIME.contains(&file)
}

/// Mappings without the `sl` flag in smaps. `[vsyscall]` is listed but is no mapping of the process.
fn unsealed(pd: &RunningPd) -> io::Result<Vec<String>> {
    let smaps = fs::read_to_string(format!("/proc/{}/smaps", pd.child.pid))?;
    let mut current = "";
    let mut missing = Vec::new();
    for line in smaps.lines() {
        if let Some(flags) = line.strip_prefix("VmFlags:") {
            if !flags.split_whitespace().any(|flag| flag == "sl") && !current.contains("[vsyscall]") {
                missing.push(current.to_owned());
            }
        } else if line.split(' ').next().is_some_and(|word| word.contains('-')) {
            current = line;
        }
    }
    Ok(missing)
}
