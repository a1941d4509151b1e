//! Which host user a PD is: its own one as root, the launcher's when rootless (user_namespaces(7)).

#![forbid(unsafe_code)]

use std::fs;

use nix::errno::Errno;
use nix::unistd::{Pid, getegid, geteuid};

use crate::plan::Plan;
use crate::sdf::PdIndex;
use crate::sys::errno_of;

/// First host uid and gid for PDs as root: from here to 0x7fff_ffff nobody assigns ids (systemd's UIDS-GIDS table calls the
/// range unused).
const FIRST_ID: u32 = 0x7000_0000;
/// Ids of one launcher: more than a system has PDs.
const IDS_PER_LAUNCHER: u32 = 64;

/// How user 0 of a PD's user namespace maps to the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// The launcher's own uid and gid: all an unprivileged user can map.
    Own,
    /// A host uid and gid for each PD and launcher.
    Distinct {
        /// Of the first PD.
        first: u32,
    },
}

impl Identity {
    /// Distinct when this process may map foreign ids: it is root, and the range exists in its own user namespace.
    pub fn of_launcher() -> Self {
        let mapped = |file| fs::read_to_string(file).is_ok_and(|text| covers_range(&text));
        if geteuid().is_root() && mapped("/proc/self/uid_map") && mapped("/proc/self/gid_map") {
            // A pid is below 2^22 (kernel PID_MAX_LIMIT), so launchers never share an id.
            let pid = Pid::this().as_raw().unsigned_abs() & 0x3f_ffff;
            Self::Distinct { first: FIRST_ID + pid * IDS_PER_LAUNCHER }
        } else {
            Self::Own
        }
    }

    /// The child must change to the mapped user itself.
    pub fn must_change(self) -> bool {
        matches!(self, Self::Distinct { .. })
    }

    /// The host id that a PD's user 0 is, where it has one of its own.
    pub(super) fn host_id(self, pd: PdIndex) -> Option<u32> {
        match self {
            Self::Own => None,
            Self::Distinct { first } => Some(first + pd.0 as u32),
        }
    }

    /// Writes the maps of a new child.
    pub fn write_maps(self, pid: Pid, plan: &Plan, pd: PdIndex) -> Result<(), Errno> {
        let write = |file: &str, text: String| {
            fs::write(format!("/proc/{pid}/{file}"), text).map_err(|error| errno_of(&error))
        };
        debug_assert!(plan.pds.len() as u32 <= IDS_PER_LAUNCHER);
        let (uid, gid) = match self {
            Self::Own => {
                // An unprivileged user may write gid_map only after this.
                write("setgroups", "deny".into())?;
                (geteuid().as_raw(), getegid().as_raw())
            }
            Self::Distinct { first } => (first + pd.0 as u32, first + pd.0 as u32),
        };
        write("gid_map", format!("0 {gid} 1"))?;
        write("uid_map", format!("0 {uid} 1"))
    }
}

/// Lines of uid_map: first id inside, first id outside, count.
fn covers_range(map: &str) -> bool {
    map.lines().any(|line| {
        let mut numbers = line.split_whitespace().map(|word| word.parse::<u64>().unwrap_or(0));
        let (inside, _outside, count) = (numbers.next(), numbers.next(), numbers.next());
        let (Some(inside), Some(count)) = (inside, count) else { return false };
        inside <= u64::from(FIRST_ID) && inside + count >= 0x8000_0000
    })
}

#[cfg(test)]
mod tests {
    use super::covers_range;

    #[test]
    fn the_whole_range_must_be_mapped() {
        assert!(covers_range("         0          0 4294967295\n"));
        assert!(!covers_range("         0       1000          1\n         1     100000      65536\n"));
        assert!(!covers_range(""));
    }
}
