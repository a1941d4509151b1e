//! Giving up privilege: capabilities, securebits, no_new_privs, limits (capabilities(7), prctl(2), getrlimit(2)).

pub use caps::Capability;
use caps::{CapSet, CapsHashSet};
use nix::errno::Errno;
use nix::sys::resource::{Resource, setrlimit};
use nix::unistd::{Pid, getppid};

use super::check;

fn prctl(option: libc::c_int, arg2: libc::c_ulong) -> Result<libc::c_long, Errno> {
    // SAFETY: every option passed here takes numbers only.
    check(unsafe { libc::prctl(option, arg2, 0, 0, 0) } as _)
}

/// SIGKILL to this process when its parent's thread ends.
pub fn die_with_parent() -> Result<(), Errno> {
    prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong).map(drop)
}

/// [`die_with_parent`], for a parent that this process can tell by its pid. ESRCH: it has ended already.
pub fn die_with(parent: Pid) -> Result<(), Errno> {
    die_with_parent()?;
    if getppid() == parent { Ok(()) } else { Err(Errno::ESRCH) }
}

/// The name in /proc/PID/comm; cut to 15 bytes by the kernel.
pub fn set_name(name: &str) -> Result<(), Errno> {
    let name = std::ffi::CString::new(name).map_err(|_| Errno::EINVAL)?;
    prctl(libc::PR_SET_NAME, name.as_ptr() as libc::c_ulong).map(drop)
}

/// No exec gains privilege any more.
pub fn no_new_privileges() -> Result<(), Errno> {
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1).map(drop)
}

/// Other processes of the same user can neither trace this one nor open its /proc files; it dumps no core.
pub fn undumpable() -> Result<(), Errno> {
    prctl(libc::PR_SET_DUMPABLE, 0).map(drop)
}

/// All securebits on and locked: uid 0 means nothing, and no capability survives or becomes ambient.
const SECUREBITS_LOCKED: libc::c_ulong = 0b1110_1111;

/// Takes all capabilities but these out of the bounding set, then locks the securebits. Needs CAP_SETPCAP.
fn bound_to(but: &[Capability]) -> Result<(), Errno> {
    // The crate knows capabilities by name; the kernel may know more (/proc/sys/kernel/cap_last_cap).
    for number in 0..=63 {
        if but.iter().any(|kept| libc::c_ulong::from(kept.index()) == number) {
            continue;
        }
        match prctl(libc::PR_CAPBSET_DROP, number) {
            Ok(_) => {}
            Err(Errno::EINVAL) => break,
            Err(errno) => return Err(errno),
        }
    }
    prctl(libc::PR_SET_SECUREBITS, SECUREBITS_LOCKED).map(drop)
}

/// This process has it now.
pub fn has(capability: Capability) -> bool {
    caps::has_cap(None, CapSet::Effective, capability).unwrap_or(false)
}

/// Empties all five capability sets for good, and asks the kernel whether they are empty.
pub fn drop_capabilities() -> Result<(), Errno> {
    let failed = |_| Errno::EPERM;
    caps::clear(None, CapSet::Ambient).map_err(failed)?;
    bound_to(&[])?;
    // The permitted set last: the other two must lie inside it.
    for set in [CapSet::Inheritable, CapSet::Effective, CapSet::Permitted] {
        caps::clear(None, set).map_err(failed)?;
    }
    for set in [CapSet::Inheritable, CapSet::Effective, CapSet::Permitted, CapSet::Bounding, CapSet::Ambient]
    {
        if !caps::read(None, set).map_err(failed)?.is_empty() {
            return Err(Errno::EPERM);
        }
    }
    Ok(())
}

/// No exec gives this process any capability but these, as far as it may say so: without CAP_SETPCAP the bounding set and the securebits stay,
/// and mean nothing to a process with no_new_privs that has no capability. What it has, it keeps.
pub fn bound(but: &[Capability]) -> Result<(), Errno> {
    if has(Capability::CAP_SETPCAP) { bound_to(but) } else { Ok(()) }
}

/// Gives up every capability but these. What is kept can be used, not handed on: [`bound`] comes before.
pub fn give_up_capabilities(but: &[Capability]) -> Result<(), Errno> {
    let failed = |_| Errno::EPERM;
    caps::clear(None, CapSet::Ambient).map_err(failed)?;
    let has = caps::read(None, CapSet::Permitted).map_err(failed)?;
    let kept: CapsHashSet = but.iter().copied().filter(|kept| has.contains(kept)).collect();
    caps::clear(None, CapSet::Inheritable).map_err(failed)?;
    for set in [CapSet::Effective, CapSet::Permitted] {
        caps::set(None, set, &kept).map_err(failed)?;
        if caps::read(None, set).map_err(failed)? != kept {
            return Err(Errno::EPERM);
        }
    }
    Ok(())
}

/// Limits of a PD. RLIMIT_NOFILE is set by [`limit_to_what_is_there`], since loading the image needs one more.
pub fn limit_resources() -> Result<(), Errno> {
    for resource in [
        Resource::RLIMIT_CORE,
        Resource::RLIMIT_FSIZE,
        Resource::RLIMIT_MSGQUEUE,
        Resource::RLIMIT_MEMLOCK,
        Resource::RLIMIT_NPROC,
        Resource::RLIMIT_SIGPENDING,
        Resource::RLIMIT_NICE,
        Resource::RLIMIT_RTPRIO,
    ] {
        setrlimit(resource, 0, 0)?;
    }
    Ok(())
}

/// No descriptor at or above `count` can be opened, and the stack that exec made does not grow: the PD has one of its own.
pub fn limit_to_what_is_there(count: u64) -> Result<(), Errno> {
    setrlimit(Resource::RLIMIT_NOFILE, count, count)?;
    setrlimit(Resource::RLIMIT_STACK, 0, 0)
}
