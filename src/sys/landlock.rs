//! Applying a Landlock ruleset under a filter (landlock_restrict_self(2)). The landlock crate makes the rulesets; this is for the one that
//! is applied when the loading filter is on already.

use std::os::fd::{IntoRawFd, OwnedFd};

use nix::errno::Errno;

use super::check;

/// Puts the ruleset in force for this process and closes it. Needs no_new_privs.
pub fn restrict_self(ruleset: OwnedFd) -> Result<(), Errno> {
    // Not dropped as an OwnedFd: in debug builds the standard library looks at a descriptor with fcntl before it closes it, which the
    // loading filter has no reason to allow.
    let fd = ruleset.into_raw_fd();
    // SAFETY: both calls take numbers, and nothing else owns the descriptor.
    unsafe {
        let result = check(libc::syscall(libc::SYS_landlock_restrict_self, fd, 0)).map(drop);
        libc::close(fd);
        result
    }
}
