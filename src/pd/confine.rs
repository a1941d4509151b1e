//! Landlock and mseal in the PD host.

#![forbid(unsafe_code)]

use std::fs::File;
use std::io::Read;
use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, PathBeneath, PathFd, RestrictionStatus,
    Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};
use nix::errno::Errno;

use super::host::errno_of;
use super::step::{Failure, Step};
use crate::sys::memory;
use crate::sys::procfs::parse_maps;

/// Denies every file, network and scope right the kernel can deny, but for reading the image.
pub(super) fn landlock_image_only(abi: i32, image: &Path) -> Result<(), Failure> {
    let fail = |error: String| failure(Step::Landlock, error);
    let file = PathFd::new(image).map_err(|error| fail(error.to_string()))?;
    let ruleset = ruleset(abi)
        .and_then(|ruleset| ruleset.add_rule(PathBeneath::new(file, AccessFs::ReadFile)))
        .map_err(|error| fail(error.to_string()))?;
    restrict_at(Step::Landlock, ruleset)
}

/// A ruleset that denies all of it; made while that is still possible, applied by [`restrict`].
pub(super) fn landlock_nothing(abi: i32) -> Result<RulesetCreated, Failure> {
    ruleset(abi).map_err(|error| failure(Step::Landlock, error.to_string()))
}

/// Applies [`landlock_nothing`].
pub(super) fn restrict(ruleset: RulesetCreated) -> Result<(), Failure> {
    restrict_at(Step::LandlockAll, ruleset)
}

fn ruleset(abi: i32) -> Result<RulesetCreated, RulesetError> {
    let abi = ABI::from(abi);
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(abi))?;
    // An empty set is an error of the crate: TCP rights came with ABI 4, scopes with 6.
    if abi >= ABI::V4 {
        ruleset = ruleset.handle_access(AccessNet::from_all(abi))?;
    }
    if abi >= ABI::V6 {
        ruleset = ruleset.scope(Scope::from_all(abi))?;
    }
    ruleset.create()
}

fn restrict_at(step: Step, ruleset: RulesetCreated) -> Result<(), Failure> {
    // no_new_privs is on since the step before; the filter in force by the second call has no prctl.
    let status: RestrictionStatus = ruleset
        .set_no_new_privs(false)
        .restrict_self()
        .map_err(|error| failure(step, error.to_string()))?;
    match status.ruleset {
        RulesetStatus::FullyEnforced => Ok(()),
        other => Err(failure(step, format!("the kernel says: {other:?}"))),
    }
}

fn failure(step: Step, detail: String) -> Failure {
    Failure { step, errno: Errno::EOPNOTSUPP as i32, detail }
}

/// mseals every mapping there is, as the kernel lists them. The kernel's own pages (vdso, vvar) have no file and no name that
/// could be mapped over with the calls left, and the kernel seals them itself where it is built to.
pub(super) fn seal_everything(mut maps: File) -> Result<(), Errno> {
    let mut text = String::with_capacity(64 << 10);
    maps.read_to_string(&mut text).map_err(|error| errno_of(&error))?;
    parse_maps(&text)
        .into_iter()
        .filter(|map| !map.name.starts_with("[v"))
        .try_for_each(|map| memory::seal(map.start, map.end))
}
