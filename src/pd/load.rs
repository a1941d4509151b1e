//! The shared objects of a PD: libmicrokit and the C runtime's from the host, the image from the empty root; and the handoff that
//! libmicrokit starts from.

#![allow(unsafe_code)]

use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::mman::ProtFlags;

use super::handoff::Handoff;
use super::map::Channels;
use super::step::{Failure, Step};
use crate::image::FunctionArray;
use crate::plan::{CONSOLE_FDS, DOORBELL_FD};
use crate::sys::{abi, library, memory};

/// A loaded image.
pub(super) struct Image {
    /// Added to its own addresses.
    pub base: u64,
}

/// Addresses in libmicrokit.
pub(super) struct Entries {
    /// mk_start
    pub start: u64,
    /// mk_restart
    pub restart: u64,
}

/// Loads libmicrokit and what else of the C runtime the image needs while the host's files can still be seen.
pub(super) fn libraries(handoff: &Handoff) -> Result<Entries, Failure> {
    let libmicrokit = PathBuf::from(format!("/proc/self/fd/{}", handoff.libmicrokit));
    let fail = |detail: String| Failure { detail, ..Failure::new(Step::Libraries, Errno::ENOENT) };
    for name in &handoff.image_plan.libraries {
        // SAFETY: the C runtime's own libraries, of the names the image reader allows, are as trusted as the one this host runs on.
        unsafe { library::load(Path::new(name)) }.map_err(fail)?;
    }
    // SAFETY: libmicrokit comes with this binary and has no initialisers.
    let loaded = unsafe { library::load(&libmicrokit) }.map_err(fail)?;
    let entry = |name: &str| loaded.symbol(name).ok_or_else(|| fail(format!("libmicrokit.so has no {name}")));
    Ok(Entries { start: entry("mk_start")?, restart: entry("mk_restart")? })
}

pub(super) fn image(path: &Path) -> Result<Image, Failure> {
    let fail =
        |detail: String| Failure { errno: 0, detail, ..Failure::new(Step::Image, Errno::UnknownErrno) };
    // SAFETY: the launcher has refused IFUNC and taken the initialisers out, so no instruction of the image runs here.
    let loaded = unsafe { library::load(path) }.map_err(fail)?;
    let base =
        loaded.base().ok_or_else(|| fail("the dynamic linker does not say where it put the image".into()))?;
    Ok(Image { base })
}

/// Writes the variables that the launcher found in the image's writable data.
pub(super) fn variables(handoff: &Handoff, image: &Image) {
    for write in &handoff.image_plan.writes {
        // SAFETY: the launcher checked that the range lies in a writable segment of the image, which no Rust code uses.
        unsafe { memory::write(image.base + write.vaddr, &write.bytes) };
    }
}

/// Whole pages.
const HANDOFF_BYTES: u64 = size_of::<abi::Handoff>().next_multiple_of(memory::PAGE) as u64;

/// Memory for libmicrokit's handoff, between guards; made early, since the loading filter grants no writable memory.
pub(super) fn handoff_page() -> Result<*mut abi::Handoff, Errno> {
    memory::private_with_guards(HANDOFF_BYTES).map(|page| page as *mut abi::Handoff)
}

/// Writes libmicrokit's handoff into a page of its own, which is read-only from then on.
pub(super) fn fill_handoff(
    page: *mut abi::Handoff,
    handoff: &Handoff,
    channels: &Channels,
    image: &Image,
) -> Result<(), Errno> {
    let plan = &handoff.image_plan;
    let at = |vaddr: u64| image.base + vaddr;
    let optional = |vaddr: Option<u64>| vaddr.map_or(0, at);
    let functions = |array: FunctionArray| match array.count {
        0 => abi::Functions::default(),
        count => abi::Functions { address: at(array.vaddr), count },
    };
    let mask = |right: u64| -> u64 {
        channels.ends.iter().filter(|end| u64::from(end.rights) & right != 0).map(|end| 1 << end.id).sum()
    };
    let mut name = [0; abi::MK_NAME_LENGTH as usize];
    let length = handoff.name.len().min(name.len() - 1);
    name[..length].copy_from_slice(&handoff.name.as_bytes()[..length]);
    let mut ends = [abi::End::default(); abi::MK_MAX_ENDS as usize];
    let end_count = channels.ends.len().min(ends.len());
    ends[..end_count].copy_from_slice(&channels.ends[..end_count]);

    let filled = abi::Handoff {
        version: abi::MK_ABI_VERSION as u32,
        size: size_of::<abi::Handoff>() as u32,
        name,
        status: channels.status,
        doorbell: DOORBELL_FD,
        console: CONSOLE_FDS[0],
        init: at(plan.entries.init),
        notified: at(plan.entries.notified),
        protected_entry: optional(plan.entries.protected),
        fault: optional(plan.entries.fault),
        preinit_array: functions(plan.constructors.preinit_array),
        dt_init: optional(plan.constructors.init),
        init_array: functions(plan.constructors.init_array),
        irqs: handoff.irqs,
        notifications: mask(abi::MK_MAY_NOTIFY),
        pps: mask(abi::MK_MAY_CALL),
        ioports: handoff.ioports,
        passive: handoff.passive,
        wait: handoff.wait,
        spin_cycles: handoff.spin_cycles,
        schedule: handoff.schedule,
        end_count: end_count as u32,
        ends,
        supervisor: channels.supervisor,
        children: handoff.children,
        cspace: handoff.cspace,
        cpus: handoff.cpus,
        rest_cycles: handoff.rest_cycles,
    };
    // SAFETY: `page` was mapped for this, is large enough and page-aligned; read-only is all that is needed from here on.
    unsafe {
        page.write(filled);
        memory::protect(page as u64, HANDOFF_BYTES, ProtFlags::PROT_READ)
    }
}
