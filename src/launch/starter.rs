//! The process that starts PDs again. A launcher that has confined itself cannot start one: a PD makes namespaces, mounts and maps of
//! ids, and would inherit what the launcher may not. So where a PD may have to be started again, a copy of the launcher from before
//! stays behind for that alone. It hears numbers of PDs from the launcher and nothing else; no PD can reach it.
//!
//! The launcher traces it with PTRACE_O_TRACECLONE, so what it clones is the launcher's tracee from its first instruction, which no
//! ptrace(2) of a process in a Landlock domain could make it; with CLONE_PARENT it is the launcher's child, too.

#![forbid(unsafe_code)]

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signalfd::SignalFd;
use nix::unistd::{Pid, Uid, setfsuid};
use serde::{Deserialize, Serialize};

use super::start::{Starting, heed, spawn_all};
use super::{Identity, Launch, LaunchError, Resources};
use crate::pd::{Failure, REPORT_MAX, Seam, Step, StepTimes};
use crate::plan::PdPlan;
use crate::sdf::PdIndex;
use crate::sys::bare::By;
use crate::sys::clone::Child;
use crate::sys::privilege::{self, Capability};
use crate::sys::{errno_of, procfs, socket, trace};

/// What it needs as root: to map a PD's own ids, to set its priority. Without privilege it has none of them and needs none.
const CAPABILITIES: [Capability; 3] =
    [Capability::CAP_SETUID, Capability::CAP_SETGID, Capability::CAP_SYS_NICE];

/// The launcher's side. It ends with this.
#[derive(Debug)]
pub struct Starter {
    child: Child,
    socket: OwnedFd,
}

/// What is asked of it: a letter and the number of a PD.
const START: u8 = b's';
const OPEN: u8 = b'o';
/// What it says first: it has given up what it does not need.
const CONFINED: u8 = b'c';

#[derive(Debug, Serialize, Deserialize)]
enum Reply {
    /// With its pidfd and status pipe.
    Started(i32, Box<StepTimes>),
    /// With the files of /proc about it.
    Opened,
    Failed(Failure),
}

impl Starter {
    /// Leaves a copy of this process behind, which has given up what it does not need when this returns. This process must have no other
    /// thread, and not have confined itself.
    ///
    /// # Errors
    /// The kernel's word.
    pub fn new<S: Seam>(launch: &Launch, resources: &Resources, seam: &S) -> Result<Self, LaunchError> {
        let failed = |errno: Errno| LaunchError::Prepare {
            what: "leaving a process behind that starts PDs again".into(),
            source: errno.into(),
        };
        let identity = Identity::of_launcher();
        let (socket, other) = socket::pair().map_err(failed)?;
        let session = resources.session()?;
        let launcher = Pid::this();
        let serve = || serve(launch, resources, seam, (launcher, identity), other.as_fd()).map_or(1, |()| 0);
        let child = session.copy(serve).map_err(failed)?;
        let starter = Self { child, socket };
        // So that the socket tells should it end.
        drop(other);
        let mut said = [0];
        let heard = socket::receive(starter.socket(), &mut said).map_err(failed)?;
        if heard.0 != said.len() || said != [CONFINED] {
            return Err(failed(Errno::ECHILD));
        }
        trace::seize_with_children(starter.pid()).map_err(failed)?;
        Ok(starter)
    }

    pub(super) fn pid(&self) -> Pid {
        self.child.pid
    }

    pub(super) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    pub(super) fn start(&self, signals: &SignalFd, pd: &PdPlan) -> Result<Starting, LaunchError> {
        let (reply, descriptors) = self.ask(START, signals, pd)?;
        match (reply, <[OwnedFd; 2]>::try_from(descriptors)) {
            (Reply::Started(pid, times), Ok([pidfd, status])) => {
                let child = Child { pid: Pid::from_raw(pid), pidfd };
                Ok(Starting { index: pd.index, child, status, layout: None, times: *times, in_use: None })
            }
            _ => Err(broken(Errno::EPROTO)),
        }
    }

    /// The files of /proc about the PD that it has started last.
    pub(super) fn open(&self, signals: &SignalFd, pd: &PdPlan) -> Result<[File; 3], LaunchError> {
        let (reply, descriptors) = self.ask(OPEN, signals, pd)?;
        match (reply, <[OwnedFd; 3]>::try_from(descriptors)) {
            (Reply::Opened, Ok(files)) => Ok(files.map(File::from)),
            _ => Err(broken(Errno::EPROTO)),
        }
    }

    fn ask(&self, what: u8, signals: &SignalFd, pd: &PdPlan) -> Result<(Reply, Vec<OwnedFd>), LaunchError> {
        nix::unistd::write(&self.socket, &[what, pd.index.0 as u8]).map_err(broken)?;
        loop {
            // It stops at each clone, and for signals sent to all of a terminal's processes.
            while let Some(event) = trace::next_event_of(self.pid()).map_err(broken)? {
                if matches!(event, trace::Event::Exited(..) | trace::Event::Killed(..)) {
                    return Err(broken(Errno::ECHILD));
                }
                trace::resume(self.pid()).map_err(broken)?;
            }
            let mut fds = [
                PollFd::new(self.socket.as_fd(), PollFlags::POLLIN),
                PollFd::new(signals.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(broken(errno)),
            }
            let answered = fds[0].any().unwrap_or(false);
            heed(signals)?;
            if answered {
                break;
            }
        }
        let mut bytes = [0; REPORT_MAX];
        let (length, descriptors) = socket::receive(self.socket(), &mut bytes).map_err(broken)?;
        match serde_json::from_slice(&bytes[..length]) {
            Ok(Reply::Failed(failure)) => Err(LaunchError::Pd { pd: pd.name.clone(), failure }),
            Ok(reply) => Ok((reply, descriptors)),
            Err(_) => Err(broken(Errno::EPROTO)),
        }
    }
}

impl Drop for Starter {
    fn drop(&mut self) {
        self.child.kill();
        trace::reap(self.child.pid);
    }
}

fn broken(errno: Errno) -> LaunchError {
    LaunchError::Prepare { what: "the process that starts PDs again".into(), source: errno.into() }
}

/// The copy's side; ends when the launcher does.
fn serve<S: Seam>(
    launch: &Launch,
    resources: &Resources,
    seam: &S,
    (launcher, identity): (Pid, Identity),
    socket: BorrowedFd,
) -> Result<(), Errno> {
    privilege::die_with(launcher)?;
    privilege::no_new_privileges()?;
    privilege::bound(&CAPABILITIES)?;
    privilege::give_up_capabilities(&CAPABILITIES)?;
    socket::send(socket, &[CONFINED], &[])?;
    let mut last = None;
    loop {
        let mut request = [0; 2];
        let (length, _) = socket::receive(socket, &mut request)?;
        let [what, number] = request;
        let Some(pd) = launch.plan.pds.get(usize::from(number)).filter(|_| length == request.len()) else {
            return Ok(());
        };
        let failed = |failure: Failure| (Reply::Failed(failure), Vec::new());
        let (reply, descriptors): (Reply, Vec<OwnedFd>) = match what {
            START => {
                let mut starting = Vec::new();
                let outcome = spawn_all(launch, resources, seam, identity, By::Itself, &[pd], &mut starting);
                match (outcome, starting.pop()) {
                    (Ok(()), Some(started)) => {
                        last = Some((started.child.pid, started.in_use));
                        let reply = Reply::Started(started.child.pid.as_raw(), Box::new(started.times));
                        (reply, vec![started.child.pidfd, started.status])
                    }
                    (outcome, started) => {
                        started.iter().for_each(|started| started.child.kill());
                        failed(match outcome {
                            Err(LaunchError::Pd { failure, .. }) => failure,
                            _ => Failure::new(Step::Clone, Errno::EIO),
                        })
                    }
                }
            }
            _ => match open(identity, last.as_ref().map(|(pid, _)| *pid), pd.index) {
                Ok(files) => (Reply::Opened, files.map(OwnedFd::from).into()),
                Err(errno) => failed(Failure::new(Step::Ready, errno)),
            },
        };
        let bytes = serde_json::to_vec(&reply).map_err(|_| Errno::EINVAL)?;
        let numbers: Vec<_> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
        socket::send(socket, &bytes, &numbers)?;
    }
}

/// /proc/PID/mem is the PD's user's. Whoever may map ids may also be that user to the file system, and needs no right on all files.
fn open(identity: Identity, pid: Option<Pid>, pd: PdIndex) -> Result<[File; 3], Errno> {
    let pid = pid.ok_or(Errno::ESRCH)?;
    let own = identity.host_id(pd).map(|id| setfsuid(Uid::from_raw(id)));
    let files = procfs::open(pid);
    if let Some(own) = own {
        setfsuid(own);
    }
    files.map_err(|error| errno_of(&error))
}
