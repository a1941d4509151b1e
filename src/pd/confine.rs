//! Landlock and mseal in the PD host.

#![forbid(unsafe_code)]

use std::fs::File;
use std::mem::ManuallyDrop;
use std::os::fd::OwnedFd;
use std::path::Path;

use ::landlock::{PathBeneath, PathFd, RulesetCreatedAttr, RulesetStatus};
use nix::errno::Errno;

use super::step::{Failure, Step};
use crate::policy::landlock;
use crate::sys::procfs::{Mapping, parse_maps};
use crate::sys::{descriptor, memory};

/// Denies every file, network and scope right the kernel can deny, but for reading the image.
pub(super) fn landlock_image_only(abi: i32, image: &Path) -> Result<(), Failure> {
    let fail = |error: String| failure(Step::Landlock, error);
    let file = PathFd::new(image).map_err(|error| fail(error.to_string()))?;
    let status = landlock::handled(abi)
        .ruleset()
        .and_then(|ruleset| ruleset.add_rule(PathBeneath::new(file, landlock::while_loading())))
        // no_new_privs is on since the step before.
        .and_then(|ruleset| ruleset.no_new_privs(false).restrict_self())
        .map_err(|error| fail(error.to_string()))?;
    if status.ruleset != RulesetStatus::FullyEnforced {
        return Err(fail(format!("the kernel says: {:?}", status.ruleset)));
    }
    match File::open("/") {
        Err(error) if error.raw_os_error() == Some(Errno::EACCES as i32) => Ok(()),
        _ => Err(fail("the kernel says that it is in force, and lets the root be opened".into())),
    }
}

/// A ruleset that denies all of it; made while that is still possible, applied later.
pub(super) fn landlock_nothing(abi: i32) -> Result<OwnedFd, Failure> {
    let ruleset =
        landlock::handled(abi).ruleset().map_err(|error| failure(Step::Landlock, error.to_string()))?;
    Option::<OwnedFd>::from(ruleset)
        .ok_or_else(|| failure(Step::Landlock, "the kernel has no Landlock".into()))
}

fn failure(step: Step, detail: String) -> Failure {
    Failure { detail, ..Failure::new(step, Errno::EOPNOTSUPP) }
}

/// Every mapping there is, as the kernel lists them; closes the list. `[vsyscall]` is left out: it is listed, but is no mapping of the
/// process (Documentation/arch/x86/x86_64/mm.rst).
pub(super) fn mappings(maps: ManuallyDrop<File>) -> Result<Vec<Mapping>, Errno> {
    let mut text = Vec::with_capacity(64 << 10);
    let mut buffer = [0; 4096];
    // The bare call: `read_to_string` would ask for the file's size first, which the loading filter does not know.
    loop {
        match nix::unistd::read(&*maps, &mut buffer)? {
            0 => break,
            count => text.extend_from_slice(&buffer[..count]),
        }
    }
    descriptor::close_owned(ManuallyDrop::into_inner(maps).into())?;
    let mut all = parse_maps(&String::from_utf8_lossy(&text));
    all.retain(|map| map.name != "[vsyscall]");
    Ok(all)
}

/// mseals them.
pub(super) fn seal(mappings: &[Mapping]) -> Result<(), Errno> {
    mappings.iter().try_for_each(|map| memory::seal(map.start, map.end))
}
