//! The validated system: what the file says, with every rule of the system description already checked. Nothing
//! later checks these rules again.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;

use super::cspace::CapSlot;
use super::domains::{DomainIndex, Domains};
use super::io_address_space::IoAddressSpace;
use super::ioport::IoPort;
use super::irq::Irq;
use super::memory_region::BootInfo;
use super::virtual_machine::VirtualMachine;

/// A byte range of the system file, for messages of later stages about something in it.
pub type Span = Range<usize>;

/// Index of a PD in [`System::pds`]: parents stand before their children, otherwise the order of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct PdIndex(pub usize);

/// Index of a memory region in [`System::regions`], in the order of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct RegionIndex(pub usize);

/// A whole system description.
#[derive(Clone, Debug, PartialEq)]
pub struct System {
    /// 1 to 63 PDs.
    pub pds: Vec<ProtectionDomain>,
    /// Every region, used or not.
    pub regions: Vec<MemoryRegion>,
    /// Every channel, in the order of the file.
    pub channels: Vec<Channel>,
    /// Every device's address space, in the order of the file.
    pub io_address_spaces: Vec<IoAddressSpace>,
    /// The domain schedule, when the file has one: then every PD names its domain.
    pub domains: Option<Domains>,
    /// Elements that are valid but that `run` has no support for yet: each is refused by name when the system is run.
    pub unsupported: Vec<Unsupported>,
}

/// A valid element or attribute that `run` must refuse.
#[derive(Clone, Debug, PartialEq)]
pub struct Unsupported {
    /// As the file names it: `virtual_machine`, `protection_domain inside protection_domain`.
    pub what: String,
    /// Where it stands.
    pub span: Span,
}

/// One `protection_domain`.
#[derive(Clone, Debug, PartialEq)]
pub struct ProtectionDomain {
    /// Unique, at most 63 bytes, not `monitor`.
    pub name: String,
    /// 0 to 254.
    pub priority: u8,
    /// Microseconds, at most `period`.
    pub budget_us: u64,
    /// Microseconds.
    pub period_us: u64,
    /// Runs only on its callers' time.
    pub passive: bool,
    /// Bytes: 4 KiB to 16 MiB, a multiple of 4 KiB.
    pub stack_size: u64,
    /// The CPU the file asks for; `None` where it says nothing.
    pub cpu: Option<u32>,
    /// The parent and this PD's child id in it.
    pub parent: Option<(PdIndex, u8)>,
    /// The domain it runs in; given exactly when [`System::domains`] is.
    pub domain: Option<DomainIndex>,
    /// May use the floating point unit; accepted, as on Linux every PD may.
    pub fpu: bool,
    /// May make secure monitor calls.
    pub smc: bool,
    /// The `program_image`.
    pub image: ProgramImage,
    /// Mapped regions, ascending by address, not overlapping.
    pub maps: Vec<Map>,
    /// What is written into 8-byte symbols of the image before it runs, in the order of the file.
    pub setvars: Vec<SetVar>,
    /// Interrupts, in the order of the file. Their ids are channel ids.
    pub irqs: Vec<Irq>,
    /// I/O ports, in the order of the file.
    pub ioports: Vec<IoPort>,
    /// Capabilities to other PDs' objects, ascending by slot.
    pub cspace: Vec<CapSlot>,
    /// The virtual machine that this PD monitors.
    pub virtual_machine: Option<VirtualMachine>,
    /// The whole element's start tag.
    pub span: Span,
}

/// `program_image`: the path as written, to be looked up in the search path.
#[derive(Clone, Debug, PartialEq)]
pub struct ProgramImage {
    /// `path`
    pub path: PathBuf,
    /// `path_for_symbols`
    pub path_for_symbols: Option<PathBuf>,
    /// The `path` attribute's value.
    pub span: Span,
}

/// Rights of a mapping: any of r, w, x; never w alone, never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Perms {
    /// r
    pub read: bool,
    /// w
    pub write: bool,
    /// x
    pub execute: bool,
}

impl std::fmt::Display for Perms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let letters = [(self.read, "r"), (self.write, "w"), (self.execute, "x")];
        letters.into_iter().filter(|(on, _)| *on).try_for_each(|(_, letter)| f.write_str(letter))
    }
}

/// One `map`.
#[derive(Clone, Debug, PartialEq)]
pub struct Map {
    /// The region.
    pub region: RegionIndex,
    /// First byte in the PD: a multiple of the region's page size.
    pub vaddr: u64,
    /// `perms`, `rw` by default.
    pub perms: Perms,
    /// Accepted; ordinary memory on Linux is always cached.
    pub cached: bool,
    /// The `map` element.
    pub span: Span,
}

/// One `memory_region`.
#[derive(Clone, Debug, PartialEq)]
pub struct MemoryRegion {
    /// Unique.
    pub name: String,
    /// Bytes: a multiple of `page_size`, not 0. Already settled for a prefilled region without `size`.
    pub size: u64,
    /// 0x1000 or 0x200000.
    pub page_size: u64,
    /// `phys_addr`
    pub phys_addr: Option<u64>,
    /// File whose bytes the region begins with, as found in the search path, and its length in bytes.
    pub prefill: Option<(PathBuf, u64)>,
    /// The boot information that the region begins with; never together with `prefill`.
    pub bootinfo: Option<BootInfo>,
    /// The `memory_region` element.
    pub span: Span,
}

/// What a symbol of the image is set to.
#[derive(Clone, Debug, PartialEq)]
pub struct SetVar {
    /// Name in the symbol table of this PD's image, not empty; at most once per PD.
    pub symbol: String,
    /// What to write.
    pub value: SetVarValue,
    /// The attribute that asks for it: `setvar_vaddr`, `setvar_size`, `setvar_prefill_size`,
    /// `setvar_id`, `setvar_addr` or `region_paddr`.
    pub attribute: &'static str,
    /// That attribute.
    pub span: Span,
}

/// The value of a `setvar`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetVarValue {
    /// An address or a size: the symbol has 8 bytes.
    Word(u64),
    /// A channel, irq, ioport, child or vcpu id: the symbol has 4 or 8 bytes.
    Id(u8),
}

/// One `channel`.
#[derive(Clone, Debug, PartialEq)]
pub struct Channel {
    /// Both ends; they may be in the same PD, at most one has `pp`.
    pub ends: [End; 2],
    /// The `channel` element.
    pub span: Span,
}

/// One `end`.
#[derive(Clone, Debug, PartialEq)]
pub struct End {
    /// Whose end.
    pub pd: PdIndex,
    /// 0 to 61, unique in its PD.
    pub id: u8,
    /// This end may call; the other end serves.
    pub pp: bool,
    /// This end may notify.
    pub notify: bool,
    /// The `end` element.
    pub span: Span,
}

impl System {
    /// The PD with this index.
    pub fn pd(&self, index: PdIndex) -> &ProtectionDomain {
        &self.pds[index.0]
    }

    /// The region with this index.
    pub fn region(&self, index: RegionIndex) -> &MemoryRegion {
        &self.regions[index.0]
    }

    /// Every PD with its index, in order.
    pub fn indexed_pds(&self) -> impl Iterator<Item = (PdIndex, &ProtectionDomain)> {
        self.pds.iter().enumerate().map(|(i, pd)| (PdIndex(i), pd))
    }

    /// How many PDs map each region.
    pub fn users_of_regions(&self) -> BTreeMap<RegionIndex, usize> {
        let mut users = BTreeMap::new();
        for pd in &self.pds {
            for map in &pd.maps {
                *users.entry(map.region).or_insert(0) += 1;
            }
        }
        users
    }
}
