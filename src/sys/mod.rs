//! The kernel, one file a topic. All `unsafe` of the launcher is here, behind functions that are safe to call or say
//! what makes them so; nothing here knows what a PD is.

#![allow(unsafe_code)]

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
compile_error!(
    "mk-sandbox runs on Linux on x86-64 only: its filters and register layouts are for that machine"
);

pub mod abi;
pub mod bare;
pub mod clone;
pub mod cputime;
pub mod descriptor;
pub mod floor;
pub mod landlock;
pub mod library;
pub mod memfd;
pub mod memory;
pub mod privilege;
pub mod probe;
pub mod procfs;
mod raw;
pub mod remote;
pub mod scheduling;
pub mod seccomp;
pub mod session;
pub mod signals;
pub mod socket;
pub mod trace;

use nix::errno::Errno;

/// The kernel's number for an error of the standard library; EIO for one that is the library's own.
pub fn errno_of(error: &std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

/// The result of a raw system call: -1 means that errno is set.
fn check(result: libc::c_long) -> Result<libc::c_long, Errno> {
    if result == -1 { Err(Errno::last()) } else { Ok(result) }
}

/// Ends this process at once, without what the C library and Rust's runtime do at exit (_exit(2)).
pub fn exit_now(status: i32) -> ! {
    // SAFETY: takes a number and does not return.
    unsafe { libc::_exit(status) }
}
