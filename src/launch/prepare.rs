//! What exists before any PD: regions, channel memory, doorbells, consoles and images, all without a name in any file system.

#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::{Pid, pipe2};

use super::{Early, Launch, LaunchError, Starter};
use crate::plan::{MapPlan, RegionPlan};
use crate::sdf::RegionIndex;
use crate::sys::bare::Coming;
use crate::sys::clone;
use crate::sys::descriptor::set_nonblocking;
use crate::sys::memfd;
use crate::sys::memory::PAGE;
use crate::sys::session::Session;

/// Memory with a description that can write and one that cannot.
#[derive(Debug)]
pub struct SharedMemory {
    /// For those who may write.
    pub read_write: File,
    /// For the others; a mapping from it can never become writable.
    pub read_only: OwnedFd,
}

/// A pipe.
#[derive(Debug)]
pub struct Pipe {
    /// Its read end.
    pub read: OwnedFd,
    /// Its write end.
    pub write: OwnedFd,
}

/// The descriptors of a system. The launcher keeps them while it runs; each PD is given its own.
#[derive(Debug)]
pub struct Resources {
    /// Memory regions.
    pub regions: BTreeMap<RegionIndex, SharedMemory>,
    /// Per PD: its status page and one page an end.
    pub channels: Vec<SharedMemory>,
    /// Per PD with children: where the launcher tells it of their faults.
    pub supervisors: Vec<Option<SharedMemory>>,
    /// Per PD: what wakes it. The read end blocks, the write end never does: a full pipe means that a wake is pending.
    pub doorbells: Vec<Pipe>,
    /// Per PD: what it prints. The write end blocks, the read end never does.
    pub consoles: Vec<Pipe>,
    /// Per PD: its image, sealed; the same for PDs that are given the same bytes.
    pub images: Vec<Arc<File>>,
    /// libmicrokit.so, sealed.
    pub libmicrokit: File,
    /// A pidfd of this process's: who holds it sees whether that has ended.
    pub launcher: OwnedFd,
    /// The first PD's process, until it is needed.
    pub first: RefCell<Option<Coming>>,
    /// The session that PDs are in, until all that clones is there.
    pub session: Option<Session>,
    /// Who starts PDs again for a launcher that has confined itself.
    pub starter: Option<Starter>,
}

/// Creates all of it, and fills prefilled regions. With `early`, the first PD's process is on order already.
pub fn prepare(launch: &Launch, early: Option<Early>) -> Result<Resources, LaunchError> {
    let plan = &launch.plan;
    let step = |what: String| move |source| LaunchError::Prepare { what, source };
    // What the start makes for each PD is less than 16.
    let descriptors = (64 + 16 * plan.pds.len() + 2 * plan.regions.len()) as i32;
    let (first, session, launcher) = match early {
        Some(Early { first, session, launcher }) => {
            session.make_room(descriptors);
            (Some(first), session, launcher)
        }
        None => {
            let begun = pidfd_of_launcher().and_then(|launcher| Ok((Session::new(descriptors)?, launcher)));
            let (session, launcher) =
                begun.map_err(io::Error::from).map_err(step("beginning a session".into()))?;
            (None, session, launcher)
        }
    };
    let mut regions = BTreeMap::new();
    for region in &plan.regions {
        let what = || format!("creating memory region `{}`", region.name);
        let memory = region_memory(region).map_err(step(what()))?;
        if let Some(path) = &region.prefill {
            let what = || format!("filling memory region `{}` from {}", region.name, path.display());
            // The file may have grown since it was measured; the region cannot.
            let file = File::open(path).map_err(step(what()))?;
            let mut limited = io::Read::take(file, region.size);
            io::copy(&mut limited, &mut &memory.read_write).map_err(step(what()))?;
        }
        regions.insert(region.index, memory);
    }
    let for_each_pd = |what: &str| {
        let what = what.to_owned();
        move |name: &str| step(format!("creating the {what} of PD `{name}`"))
    };
    let mut resources = Resources {
        regions,
        channels: Vec::new(),
        supervisors: Vec::new(),
        doorbells: Vec::new(),
        consoles: Vec::new(),
        images: Vec::new(),
        libmicrokit: memfd::constant("libmicrokit.so", launch.libmicrokit)
            .map_err(step("copying libmicrokit.so".into()))?,
        launcher,
        first: RefCell::new(first),
        session: Some(session),
        starter: None,
    };
    for (pd, image) in plan.pds.iter().zip(&launch.images) {
        let channel = shared(&format!("channels:{}", pd.name), pd.channel_pages * PAGE as u64)
            .map_err(for_each_pd("channel memory")(&pd.name))?;
        resources.channels.push(channel);
        let supervisor = if pd.children.is_empty() {
            None
        } else {
            let memory = shared(&format!("supervisor:{}", pd.name), PAGE as u64);
            Some(memory.map_err(for_each_pd("supervisor page")(&pd.name))?)
        };
        resources.supervisors.push(supervisor);
        let doorbell = pipe().map_err(for_each_pd("doorbell")(&pd.name))?;
        set_nonblocking(&doorbell.write)
            .map_err(io::Error::from)
            .map_err(for_each_pd("doorbell")(&pd.name))?;
        resources.doorbells.push(doorbell);
        let console = pipe().map_err(for_each_pd("console")(&pd.name))?;
        set_nonblocking(&console.read).map_err(io::Error::from).map_err(for_each_pd("console")(&pd.name))?;
        resources.consoles.push(console);
        let mut earlier = launch.images.iter().zip(&resources.images);
        let copy = match earlier.find(|(other, _)| Arc::ptr_eq(&other.bytes, &image.bytes)) {
            Some((_, copy)) => Arc::clone(copy),
            None => {
                let copy = memfd::constant(&image.name, &image.bytes);
                Arc::new(copy.map_err(for_each_pd("image copy")(&pd.name))?)
            }
        };
        resources.images.push(copy);
    }
    Ok(resources)
}

/// In pages of 2 MiB where the file allows and the host has them. A prefilled region is written before anybody maps it, which the kernel does
/// not do for such pages.
fn region_memory(region: &RegionPlan) -> io::Result<SharedMemory> {
    if region.page_size > PAGE as u64 && region.prefill.is_none() {
        if let Some(read_write) = memfd::fixed_size_huge(&region.name, region.size)? {
            tracing::info!("region `{}` is in pages of 2 MiB", region.name);
            let read_only = memfd::read_only(&read_write)?;
            return Ok(SharedMemory { read_write, read_only });
        }
        tracing::debug!("region `{}`: this host has no pages of 2 MiB to give", region.name);
    }
    shared(&region.name, region.size)
}

fn shared(name: &str, size: u64) -> io::Result<SharedMemory> {
    let read_write = memfd::fixed_size(name, size)?;
    let read_only = memfd::read_only(&read_write)?;
    Ok(SharedMemory { read_write, read_only })
}

pub(super) fn pidfd_of_launcher() -> Result<OwnedFd, Errno> {
    clone::pidfd(Pid::this())
}

fn pipe() -> io::Result<Pipe> {
    let (read, write) = pipe2(OFlag::O_CLOEXEC)?;
    Ok(Pipe { read, write })
}

impl Resources {
    /// The session of the PDs, as long as it is there.
    pub(super) fn session(&self) -> Result<&Session, LaunchError> {
        self.session.as_ref().ok_or_else(|| LaunchError::Prepare {
            what: "the session of the PDs has ended".into(),
            source: Errno::ESRCH.into(),
        })
    }

    /// The descriptor a PD maps a region from.
    pub fn region_fd(&self, map: &MapPlan) -> Option<RawFd> {
        let memory = self.regions.get(&map.region)?;
        Some(if map.perms.write { memory.read_write.as_raw_fd() } else { memory.read_only.as_raw_fd() })
    }
}
