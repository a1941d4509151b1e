//! The process of the first PD, cloned before anything is known of the PD: making its namespaces takes the kernel longer than it takes this
//! process to read the file, to plan and to vet images, and needs nothing of them. Whatever comes in between, it never goes on without the
//! launcher's word.

#![forbid(unsafe_code)]

use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::unistd::geteuid;

use super::prepare::pidfd_of_launcher;
use super::start::{memory, namespaces};
use crate::pd::Seam;
use crate::sys::bare::{self, Coming, Memory};
use crate::sys::descriptor;
use crate::sys::session::Session;

/// What there is before [`super::prepare`]. Ended with this.
#[derive(Debug)]
pub struct Early {
    pub(super) first: Coming,
    pub(super) session: Session,
    pub(super) launcher: OwnedFd,
}

/// Room for the descriptors of most systems. It is made again where that is not enough.
const DESCRIPTORS: i32 = 2048;

/// Has it cloned, if that is possible before it is known what the PD is. What fails here, fails again where it is told. This process must have
/// no other thread.
pub fn begin<S: Seam>(seam: &S) -> Option<Early> {
    // In a copy nothing is seen that is written later. As root it must change its user, unless that turns out to be impossible.
    if memory(geteuid().is_root()) == Memory::Copied {
        return None;
    }
    let begin = || -> Result<Early, Errno> {
        descriptor::raise_limit()?;
        let launcher = pidfd_of_launcher()?;
        let session = Session::new(DESCRIPTORS)?;
        let first = bare::clone_ahead(namespaces(seam), &session, launcher.as_fd())?;
        Ok(Early { first, session, launcher })
    };
    begin().ok()
}
