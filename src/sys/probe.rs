//! What this host offers for each layer of the sandbox, found out by doing it: in processes that are gone afterwards, as the user
//! who asks, and leaving nothing behind.

mod attempt;

use std::collections::BTreeMap;
use std::fs;

use nix::errno::Errno;
use nix::sys::memfd::{MFdFlags, memfd_create};
use serde::Serialize;

use super::{check, errno_of};
use attempt::{Namespaces, attempt};

/// How much of the sandbox a host must enforce.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// Every layer but those that [`Layer::needed_by`] gives to `Full` alone.
    Compat,
    /// Every layer.
    Full,
}

impl std::fmt::Display for Tier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Compat => "compat",
            Self::Full => "full",
        })
    }
}

/// A part of the sandbox that the host's kernel and its settings must provide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    /// procfs at /proc: id maps are written there, mappings and descriptors read.
    Procfs,
    /// clone3(2) with a pidfd.
    Clone3,
    /// A user namespace.
    UserNamespace,
    /// setgroups, gid_map and uid_map of it.
    IdMaps,
    /// A mount namespace.
    MountNamespace,
    /// A pid namespace.
    PidNamespace,
    /// A network namespace.
    NetNamespace,
    /// An IPC namespace.
    IpcNamespace,
    /// A UTS namespace.
    UtsNamespace,
    /// A cgroup namespace.
    CgroupNamespace,
    /// A time namespace (Linux 5.6).
    TimeNamespace,
    /// A tmpfs that holds a file becomes the root, read-only, and the old one goes away.
    Root,
    /// Every capability dropped from the bounding set, and locked securebits.
    Capabilities,
    /// no_new_privs.
    NoNewPrivs,
    /// close_range(2).
    CloseRange,
    /// memfds with seals.
    MemfdSeals,
    /// memfds that can never be mapped executable (NOEXEC_SEAL, Linux 6.3).
    NoexecSeal,
    /// Memory-deny-write-execute (PR_SET_MDWE, Linux 6.3).
    Mdwe,
    /// mseal(2), Linux 6.10.
    Mseal,
    /// Landlock, any ABI (Linux 5.13).
    Landlock,
    /// Landlock's scopes for signals and abstract sockets (ABI 6, Linux 6.12).
    LandlockScopes,
    /// Becoming the tracer of a child in a user namespace of its own.
    Ptrace,
    /// Filters that refuse a call by error number and by trap, the trap seen by the tracer.
    Seccomp,
}

impl Layer {
    /// Every layer, in the order of their declaration and of a report.
    pub const ALL: [Self; 23] = [
        Self::Procfs,
        Self::Clone3,
        Self::UserNamespace,
        Self::IdMaps,
        Self::MountNamespace,
        Self::PidNamespace,
        Self::NetNamespace,
        Self::IpcNamespace,
        Self::UtsNamespace,
        Self::CgroupNamespace,
        Self::TimeNamespace,
        Self::Root,
        Self::Capabilities,
        Self::NoNewPrivs,
        Self::CloseRange,
        Self::MemfdSeals,
        Self::NoexecSeal,
        Self::Mdwe,
        Self::Mseal,
        Self::Landlock,
        Self::LandlockScopes,
        Self::Ptrace,
        Self::Seccomp,
    ];

    /// The lowest tier that cannot do without it.
    pub fn needed_by(self) -> Tier {
        match self {
            Self::Mseal | Self::Mdwe | Self::NoexecSeal | Self::LandlockScopes => Tier::Full,
            _ => Tier::Compat,
        }
    }

    /// What it is, in a few words.
    pub fn title(self) -> &'static str {
        match self {
            Self::Procfs => "procfs",
            Self::Clone3 => "clone3 with a pidfd",
            Self::UserNamespace => "user namespace",
            Self::IdMaps => "user and group maps",
            Self::MountNamespace => "mount namespace",
            Self::PidNamespace => "pid namespace",
            Self::NetNamespace => "network namespace",
            Self::IpcNamespace => "IPC namespace",
            Self::UtsNamespace => "UTS namespace",
            Self::CgroupNamespace => "cgroup namespace",
            Self::TimeNamespace => "time namespace",
            Self::Root => "empty root (mount, pivot_root)",
            Self::Capabilities => "dropping capabilities",
            Self::NoNewPrivs => "no_new_privs",
            Self::CloseRange => "close_range",
            Self::MemfdSeals => "sealed memfds",
            Self::NoexecSeal => "memfds that are never executable (NOEXEC_SEAL)",
            Self::Mdwe => "memory-deny-write-execute (MDWE)",
            Self::Mseal => "sealed mappings (mseal)",
            Self::Landlock => "Landlock",
            Self::LandlockScopes => "Landlock scopes (ABI 6)",
            Self::Ptrace => "tracing a PD (ptrace)",
            Self::Seccomp => "system call filters (seccomp)",
        }
    }
}

/// What came of trying a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// It did what the sandbox needs of it.
    Works,
    /// The kernel refused with this error number, in this system call.
    Refused {
        /// The error number.
        errno: i32,
        /// The call.
        call: &'static str,
    },
    /// The kernel accepted it, and it had no effect.
    NoEffect,
    /// It could not be tried, since something it stands on failed.
    NotTried,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Works => f.write_str("works"),
            Self::Refused { errno, call } => {
                let errno = Errno::from_raw(*errno);
                write!(f, "{call} fails with {errno:?} ({})", errno.desc())
            }
            Self::NoEffect => f.write_str("is accepted, but has no effect"),
            Self::NotTried => f.write_str("not tried, since a layer it needs failed"),
        }
    }
}

/// Everything found out about this host. Facts only: what they mean for the user is `doctor`'s to say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HostReport {
    /// `uname -r`
    pub kernel: String,
    /// The highest Landlock ABI of the kernel; 0 without Landlock.
    pub landlock_abi: i32,
    /// Every layer of [`Layer::ALL`].
    pub layers: BTreeMap<Layer, Finding>,
    /// Contents of the files of [`SETTINGS`] that exist, without white space at the end.
    pub settings: BTreeMap<&'static str, String>,
    /// A seccomp filter is already in force here, as in a container.
    pub filtered: bool,
}

impl HostReport {
    /// What came of trying a layer.
    pub fn finding(&self, layer: Layer) -> Finding {
        self.layers.get(&layer).copied().unwrap_or(Finding::NotTried)
    }

    /// The layer does what the sandbox needs.
    pub fn works(&self, layer: Layer) -> bool {
        self.finding(layer) == Finding::Works
    }

    /// What `tier` needs and this host does not enforce, in the order of [`Layer::ALL`]. `run` goes on only if it is empty.
    pub fn missing(&self, tier: Tier) -> Vec<Layer> {
        let missing = |layer: &Layer| layer.needed_by() <= tier && !self.works(*layer);
        Layer::ALL.into_iter().filter(missing).collect()
    }

    /// The highest tier this host can enforce; `None` when nothing may run here.
    pub fn tier(&self) -> Option<Tier> {
        [Tier::Full, Tier::Compat].into_iter().find(|tier| self.missing(*tier).is_empty())
    }
}

/// Files whose content explains a refusal.
pub const SETTINGS: [&str; 16] = [
    "/proc/sys/kernel/unprivileged_userns_clone",
    "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
    "/proc/sys/kernel/yama/ptrace_scope",
    "/proc/sys/kernel/seccomp/actions_avail",
    "/proc/sys/vm/memfd_noexec",
    "/proc/sys/user/max_user_namespaces",
    "/proc/sys/user/max_mnt_namespaces",
    "/proc/sys/user/max_pid_namespaces",
    "/proc/sys/user/max_net_namespaces",
    "/proc/sys/user/max_ipc_namespaces",
    "/proc/sys/user/max_uts_namespaces",
    "/proc/sys/user/max_cgroup_namespaces",
    "/proc/sys/user/max_time_namespaces",
    "/proc/self/attr/apparmor/current",
    "/sys/kernel/security/lsm",
    "/sys/fs/selinux/enforce",
];

/// Finds out what this host offers. Takes some milliseconds and needs no privilege. The processes it starts are this
/// thread's children; they are gone when it returns.
pub fn host() -> HostReport {
    let mut layers: BTreeMap<Layer, Finding> =
        Layer::ALL.into_iter().map(|layer| (layer, Finding::NotTried)).collect();
    let status = fs::read_to_string("/proc/self/status");
    let procfs = status.as_ref().map(drop).map_err(errno_of);
    layers.insert(Layer::Procfs, finding("open", procfs));
    layers.insert(Layer::MemfdSeals, finding("memfd_create", memfd(0)));
    layers.insert(Layer::NoexecSeal, finding("memfd_create", memfd(libc::MFD_NOEXEC_SEAL)));
    // SAFETY: close_range(2) takes numbers; no descriptor has the highest number there is.
    let close_range = check(unsafe { libc::syscall(libc::SYS_close_range, u32::MAX, u32::MAX, 0) }).map(drop);
    layers.insert(Layer::CloseRange, finding("close_range", close_range));
    let abi = landlock_abi();
    layers.insert(Layer::Landlock, finding("landlock_create_ruleset", abi.map(drop)));
    let abi = abi.unwrap_or(0);

    layers.extend(attempt(abi, Namespaces::All));
    if layers[&Layer::UserNamespace] != Finding::Works {
        // One of the kinds is refused; the others and what needs none of them are still worth knowing.
        layers.extend(attempt::each_namespace());
        layers.extend(attempt(abi, Namespaces::None));
    }
    if layers[&Layer::Landlock] == Finding::Works {
        let refused = Finding::Refused { errno: libc::EINVAL, call: "landlock_create_ruleset" };
        let scopes = if abi >= SCOPES_SINCE { Finding::Works } else { refused };
        layers.insert(Layer::LandlockScopes, scopes);
    }
    HostReport {
        kernel: nix::sys::utsname::uname()
            .map(|name| name.release().to_string_lossy().into_owned())
            .unwrap_or_default(),
        landlock_abi: abi,
        layers,
        settings: SETTINGS
            .into_iter()
            .filter_map(|path| Some((path, fs::read_to_string(path).ok()?.trim_end().to_owned())))
            .collect(),
        filtered: status
            .is_ok_and(|text| text.lines().any(|line| line.starts_with("Seccomp:") && line.ends_with('2'))),
    }
}

/// The Landlock ABI that brought the scopes (Linux 6.12).
pub const SCOPES_SINCE: i32 = 6;

/// The kernel makes memfds that can never be executed (Linux 6.3).
pub fn noexec_seal() -> bool {
    memfd(libc::MFD_NOEXEC_SEAL).is_ok()
}

fn finding(call: &'static str, result: Result<(), Errno>) -> Finding {
    match result {
        Ok(()) => Finding::Works,
        Err(errno) => Finding::Refused { errno: errno as i32, call },
    }
}

fn memfd(flag: libc::c_uint) -> Result<(), Errno> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    memfd_create("mk-sandbox-probe", flags | MFdFlags::from_bits_retain(flag)).map(drop)
}

/// LANDLOCK_CREATE_RULESET_VERSION (linux/landlock.h).
const LANDLOCK_VERSION: u32 = 1;

/// The highest Landlock ABI of the kernel.
///
/// # Errors
/// ENOSYS where it was built without Landlock, EOPNOTSUPP where it was started without.
pub fn landlock_abi() -> Result<i32, Errno> {
    // SAFETY: with this flag the call takes no ruleset and returns a number.
    let abi = check(unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<libc::c_void>(),
            0,
            LANDLOCK_VERSION,
        )
    })?;
    i32::try_from(abi).map_err(|_| Errno::EIO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_layers_is_in_the_order_of_their_numbers() {
        assert!(Layer::ALL.iter().enumerate().all(|(index, layer)| *layer as usize == index));
    }

    #[test]
    fn a_probe_is_repeatable_and_leaves_no_child() {
        assert_eq!(host(), host());
        let children = format!("/proc/self/task/{}/children", nix::unistd::gettid());
        assert_eq!(fs::read_to_string(children).unwrap_or_default(), "");
    }
}
