//! Regions, where PDs map them, and the inaccessible pages around them.

#![forbid(unsafe_code)]

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::diagnostic::{Diagnostic, Severity};
use crate::sdf::{Perms, ProtectionDomain, RegionIndex, System};

/// Bytes of a page, and of a guard.
pub const PAGE: u64 = 0x1000;
/// First address above user memory on x86-64 with four-level paging (Documentation/arch/x86/x86_64/mm.rst).
pub const USER_TOP: u64 = 0x7fff_ffff_f000;

/// One memory region.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RegionPlan {
    /// Its place in the system.
    pub index: RegionIndex,
    /// Its name.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Bytes of its pages: 0x1000 or 0x200000. The larger ones are used where the host has them to give.
    pub page_size: u64,
    /// File it begins with.
    pub prefill: Option<PathBuf>,
}

/// A region in a PD.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MapPlan {
    /// Which.
    pub region: RegionIndex,
    /// Its name.
    pub name: String,
    /// First byte.
    pub vaddr: u64,
    /// Bytes.
    pub size: u64,
    /// Rights; the kernel holds the PD to them.
    pub perms: Perms,
}

impl MapPlan {
    /// First byte behind it.
    pub fn end(&self) -> u64 {
        self.vaddr + self.size
    }
}

/// Inaccessible memory beside a mapped region: a run past its edge is a fault, whatever else is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct GuardPlan {
    /// First byte.
    pub vaddr: u64,
    /// Bytes.
    pub size: u64,
}

pub(super) fn regions(system: &System) -> Vec<RegionPlan> {
    let users = system.users_of_regions();
    system
        .regions
        .iter()
        .enumerate()
        .map(|(i, region)| (RegionIndex(i), region))
        .filter(|(index, _)| users.contains_key(index))
        .map(|(index, region)| RegionPlan {
            index,
            name: region.name.clone(),
            size: region.size,
            page_size: region.page_size,
            prefill: region.prefill.as_ref().map(|(path, _)| path.clone()),
        })
        .collect()
}

pub(super) fn maps(system: &System, pd: &ProtectionDomain) -> Vec<MapPlan> {
    pd.maps
        .iter()
        .map(|map| {
            let region = system.region(map.region);
            MapPlan {
                region: map.region,
                name: region.name.clone(),
                vaddr: map.vaddr,
                size: region.size,
                perms: map.perms,
            }
        })
        .collect()
}

/// A page before and behind every map, unless another map stands there or the address cannot be mapped at all.
pub(super) fn guards(maps: &[MapPlan]) -> Vec<GuardPlan> {
    let mut pages: Vec<u64> = maps
        .iter()
        .flat_map(|map| [map.vaddr.checked_sub(PAGE), Some(map.end())])
        .flatten()
        .filter(|page| *page >= MMAP_MIN_ADDR && page + PAGE <= USER_TOP)
        .filter(|page| !maps.iter().any(|map| (map.vaddr..map.end()).contains(page)))
        .collect();
    pages.sort();
    pages.dedup();
    pages.into_iter().map(|vaddr| GuardPlan { vaddr, size: PAGE }).collect()
}

/// The usual vm.mmap_min_addr: nothing below it can be mapped, so nothing needs a guard there.
const MMAP_MIN_ADDR: u64 = 0x10000;

/// Maps that are valid in a system file but refused by `run`.
pub(super) fn errors(system: &System) -> Vec<Diagnostic> {
    let mut errors = Vec::new();
    for pd in &system.pds {
        for map in &pd.maps {
            let writes = |other: &crate::sdf::Map| other.region == map.region && other.perms.write;
            if map.perms.execute && pd.maps.iter().any(writes) {
                errors.push(Diagnostic {
                    severity: Severity::Error,
                    span: map.span.clone(),
                    message: format!(
                        "PD `{}` could write and execute region `{}`",
                        pd.name,
                        system.region(map.region).name
                    ),
                    help: Some(
                        "give it either w or x, and the other to another PD; or run with --allow wx".into(),
                    ),
                });
            }
        }
    }
    errors
}
