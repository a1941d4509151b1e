//! From the plan to running PDs: descriptors and memory first, then one process a PD, then one barrier. All or nothing: when
//! any PD cannot be set up, none runs.

#![forbid(unsafe_code)]

mod early;
mod handoff;
mod identity;
mod own;
mod prepare;
mod scheduling;
mod start;
mod starter;

pub use early::{Early, begin};
pub use identity::Identity;
pub use own::{Confinement, begin_to_confine, confine};
pub use prepare::{Resources, prepare};
pub use start::{RunningPd, end_all, start, start_again, start_and};
pub use starter::Starter;

use std::sync::Arc;

use nix::errno::Errno;

use crate::exit::Exit;
use crate::image::Image;
use crate::pd::{Failure, Step, Without};
use crate::plan::{ImagePlan, Plan};
use crate::policy::Filters;

/// Everything that is decided before the first process is made.
#[derive(Debug)]
pub struct Launch {
    /// The plan.
    pub plan: Plan,
    /// Per PD, its image.
    pub images: Vec<PdImage>,
    /// Compiled filters, the same for every PD.
    pub filters: Filters,
    /// Landlock ABI of this host, at least 1.
    pub landlock_abi: i32,
    /// What the chosen tier does without.
    pub without: Without,
    /// Who decides when PDs run.
    pub schedule: Schedule,
    /// How they wait.
    pub wait: Wait,
    /// PDs get SCHED_FIFO where the host allows it.
    pub realtime: bool,
    /// PDs without a parent that fault are started again.
    pub again: bool,
    /// libmicrokit.so
    pub libmicrokit: &'static [u8],
}

impl Launch {
    /// Some PD may be started again when its process has ended: one with a parent always may.
    fn restarts(&self) -> bool {
        self.again || self.plan.pds.iter().any(|pd| pd.parent.is_some())
    }
}

/// Who decides when PDs run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// Linux; PDs run in parallel.
    Linux,
    /// The launcher, as seL4 does: of the PDs that share a CPU the one with the highest priority that can run.
    Microkit,
}

impl Schedule {
    /// `MK_SCHEDULE_…` of libmicrokit/abi.h.
    pub fn number(self) -> u32 {
        let number = match self {
            Self::Linux => crate::sys::abi::MK_SCHEDULE_LINUX,
            Self::Microkit => crate::sys::abi::MK_SCHEDULE_MICROKIT,
        };
        number as u32
    }
}

/// How PDs wait for messages under Linux's schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Spin where that has lately paid, else sleep.
    Auto,
    /// Always spin for a while first.
    Spin,
    /// Never spin.
    Sleep,
}

impl Wait {
    /// `MK_WAIT_…` of libmicrokit/abi.h.
    pub fn number(self) -> u32 {
        let number = match self {
            Self::Auto => crate::sys::abi::MK_WAIT_AUTO,
            Self::Spin => crate::sys::abi::MK_WAIT_SPIN,
            Self::Sleep => crate::sys::abi::MK_WAIT_SLEEP,
        };
        number as u32
    }
}

/// The image of one PD, read and vetted.
#[derive(Debug)]
pub struct PdImage {
    /// For symbols in reports. PDs of the same program share it.
    pub image: Arc<Image>,
    /// Name of its file, and of the file in the PD's root.
    pub name: String,
    /// What the PD is given: initialisers out, read-only variables set. PDs of the same program with the same variables share it.
    pub bytes: Arc<Vec<u8>>,
    /// Where things lie in it.
    pub plan: ImagePlan,
}

/// Why a system did not start.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// Something of the whole system, before any PD.
    #[error("{what}: {source}")]
    Prepare {
        /// What was being made.
        what: String,
        /// The kernel's word.
        #[source]
        source: std::io::Error,
    },
    /// Something of the launcher, which has begun to confine itself: it cannot look any more at what the host lacks.
    #[error("{what}: {source}")]
    Confined {
        /// What was being done.
        what: String,
        /// The kernel's word.
        #[source]
        source: std::io::Error,
    },
    /// A signal asked the launcher to end before the system ran.
    #[error("interrupted while starting")]
    Interrupted,
    /// One PD.
    #[error("PD `{pd}`: {failure}", failure = words(.failure))]
    Pd {
        /// Its name.
        pd: String,
        /// The step, errno and detail.
        failure: Failure,
    },
}

impl LaunchError {
    /// What to do about it, where the kernel's word does not say.
    pub fn hint(&self) -> Option<&'static str> {
        let errno = match self {
            Self::Interrupted => return None,
            Self::Prepare { source, .. } | Self::Confined { source, .. } => {
                Errno::from_raw(source.raw_os_error()?)
            }
            Self::Pd { failure, .. } => Errno::from_raw(failure.errno),
        };
        match errno {
            Errno::EMFILE => Some("a limit of this process: raise it with ulimit -Hn"),
            Errno::ENFILE => Some("a limit of this host: /proc/sys/fs/file-max"),
            Errno::EAGAIN => Some("the limit on processes is reached: ulimit -u, or pids.max of a container"),
            Errno::ENOSPC | Errno::EUSERS => {
                Some("a limit on namespaces is reached: /proc/sys/user/max_*_namespaces")
            }
            _ if self.exit() == Exit::Host => {
                Some("`mk-sandbox doctor` says what this host lacks and how to allow it")
            }
            _ => None,
        }
    }

    /// An invalid image or address is the file's fault, a refused privilege the host's, anything else ours.
    pub fn exit(&self) -> Exit {
        let errno = match self {
            Self::Interrupted => return Exit::Success,
            Self::Prepare { source, .. } | Self::Confined { source, .. } => {
                source.raw_os_error().map(Errno::from_raw)
            }
            Self::Pd { failure, .. } => {
                let is = |errno: Errno| failure.errno == errno as i32;
                match failure.step {
                    Step::Image if failure.errno == 0 => return Exit::Invalid,
                    Step::Regions if is(Errno::EEXIST) || is(Errno::EPERM) || is(Errno::ENOMEM) => {
                        return Exit::Invalid;
                    }
                    _ => Some(Errno::from_raw(failure.errno)),
                }
            }
        };
        match errno {
            Some(
                Errno::EPERM
                | Errno::EACCES
                | Errno::ENOSYS
                | Errno::EINVAL
                | Errno::EOPNOTSUPP
                | Errno::ENOSPC
                | Errno::EUSERS
                | Errno::EMFILE
                | Errno::ENFILE,
            ) => Exit::Host,
            _ => Exit::Internal,
        }
    }
}

fn words(failure: &Failure) -> String {
    let mut text = format!("failed while {} (step {:?}", failure.step.doing(), failure.step);
    if failure.errno != 0 {
        let errno = Errno::from_raw(failure.errno);
        text += &format!(", {errno:?}: {}", errno.desc());
    }
    text.push(')');
    if !failure.detail.is_empty() {
        text += &format!(": {}", failure.detail);
    }
    text
}
