//! One process a PD, and the barrier: every PD is confined and ready, or none has run.

#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signalfd::SignalFd;
use nix::unistd::Pid;

use super::prepare::{Pipe, Resources};
use super::{Identity, Launch, LaunchError, Schedule, handoff, scheduling};
use crate::pd::{ARGV0_PREFIX, Failure, Layer, Layout, REPORT_MAX, Report, Seam, Step, StepTimes};
use crate::plan::PdPlan;
use crate::sdf::PdIndex;
use crate::sys::bare::{self, By, Coming, ExecPlan, ExecStep, InUse, Memory};
use crate::sys::clone::{self, Child};
use crate::sys::descriptor::set_nonblocking;
use crate::sys::privilege::{self, Capability};
use crate::sys::{abi, errno_of, floor, memfd, procfs, trace};

/// A PD behind the barrier: confined, and not one instruction of its image run.
#[derive(Debug)]
pub struct RunningPd {
    /// Which.
    pub index: PdIndex,
    /// Its process.
    pub child: Child,
    /// Where things lie in it.
    pub layout: Layout,
    /// When each step of its start began.
    pub times: StepTimes,
}

/// Longest time from the first clone to the last PD ready. Far beyond what 63 PDs take, since nothing but a broken host or an
/// image that makes the dynamic linker run for ever reaches it.
const START_LIMIT: Duration = Duration::from_secs(60);

/// A PD on its way.
pub(super) struct Starting {
    pub index: PdIndex,
    pub child: Child,
    pub status: OwnedFd,
    pub layout: Option<Layout>,
    pub times: StepTimes,
    /// What the child uses until it execs. The process that has cloned it has it.
    pub in_use: Option<InUse>,
}

/// Starts every PD and waits until all are ready; once with the same resources. On an error every process is gone and reaped.
pub fn start<S: Seam>(
    launch: &Launch,
    resources: &Resources,
    signals: &SignalFd,
    seam: &S,
) -> Result<Vec<RunningPd>, LaunchError> {
    start_and(launch, resources, signals, seam, || Ok(()))
}

/// [`start`]; `meanwhile`, when every process is there and goes its own way, this one does something else.
pub fn start_and<S: Seam>(
    launch: &Launch,
    resources: &Resources,
    signals: &SignalFd,
    seam: &S,
    meanwhile: impl FnOnce() -> Result<(), LaunchError>,
) -> Result<Vec<RunningPd>, LaunchError> {
    let pds: Vec<&PdPlan> = launch.plan.pds.iter().collect();
    let mut starting = Vec::new();
    let by = By::Session(resources.session()?);
    let outcome = spawn_all(launch, resources, seam, Identity::of_launcher(), by, &pds, &mut starting)
        .and_then(|()| {
            // A child that has not run yet may be queued where this process runs, and would stay there while another CPU idles.
            starting.last().and_then(|pd| pd.in_use.as_ref()).map(InUse::give_way);
            meanwhile()
        })
        .and_then(|()| wait_until_ready(launch, signals, &mut starting));
    finish(launch, starting, outcome, |pd| {
        procfs::open(pd.child.pid).map_err(|error| cannot_open(launch, pd, &error))
    })
}

/// Starts one PD again, after its process has ended: by the process that [`super::confine`] has left behind for it.
pub fn start_again(
    launch: &Launch,
    resources: &Resources,
    signals: &SignalFd,
    pd: PdIndex,
) -> Result<Option<RunningPd>, LaunchError> {
    let plan = launch.plan.pd(pd);
    let starter = resources.starter.as_ref().ok_or_else(|| LaunchError::Prepare {
        what: "there is no process that starts PDs again".into(),
        source: Errno::ESRCH.into(),
    })?;
    let mut starting = vec![starter.start(signals, plan)?];
    let outcome = wait_until_ready(launch, signals, &mut starting);
    finish(launch, starting, outcome, |_| starter.open(signals, plan)).map(|mut started| started.pop())
}

/// The PDs, ready and with the files about them open; or none of them.
fn finish(
    launch: &Launch,
    mut starting: Vec<Starting>,
    outcome: Result<(), LaunchError>,
    open: impl Fn(&Starting) -> Result<[File; 3], LaunchError>,
) -> Result<Vec<RunningPd>, LaunchError> {
    let opened = outcome.and_then(|()| {
        starting.iter_mut().try_for_each(|pd| match open(pd) {
            Ok(files) => {
                procfs::keep(pd.child.pid, files);
                Ok(())
            }
            Err(error) => Err(killed_meanwhile(launch, pd).unwrap_or(error)),
        })
    });
    if let Err(error) = opened {
        end_all(starting.iter().map(|pd| &pd.child));
        return Err(error);
    }
    let ready = |pd: Starting| {
        pd.layout.map(|layout| RunningPd { index: pd.index, child: pd.child, layout, times: pd.times })
    };
    Ok(starting.into_iter().filter_map(ready).collect())
}

/// A PD that is ready stands still, so one whose registers cannot be had any more has been ended from outside.
fn killed_meanwhile(launch: &Launch, pd: &mut Starting) -> Option<LaunchError> {
    let pid = pd.child.pid;
    trace::registers(pid).err()?;
    while let Ok(Some(event)) = trace::wait_for(pid) {
        if let Err(failure) = handle(pd, event) {
            return Some(LaunchError::Pd { pd: launch.plan.pd(pd.index).name.clone(), failure });
        }
    }
    None
}

fn cannot_open(launch: &Launch, pd: &Starting, error: &io::Error) -> LaunchError {
    LaunchError::Pd {
        pd: launch.plan.pd(pd.index).name.clone(),
        failure: Failure {
            detail: "opening what /proc has about it".into(),
            ..Failure::new(Step::Ready, errno_of(error))
        },
    }
}

/// Kills processes and reaps them, so that nothing of them is left.
pub fn end_all<'a>(children: impl Iterator<Item = &'a Child> + Clone) {
    children.clone().for_each(Child::kill);
    children.for_each(|child| trace::reap(child.pid));
}

pub(super) fn spawn_all<S: Seam>(
    launch: &Launch,
    resources: &Resources,
    seam: &S,
    identity: Identity,
    by: By<'_>,
    pds: &[&PdPlan],
    starting: &mut Vec<Starting>,
) -> Result<(), LaunchError> {
    let program = File::options()
        .read(true)
        .custom_flags_path()
        .open("/proc/self/exe")
        .map_err(|source| LaunchError::Prepare { what: "opening this program".into(), source })?;
    let program = Rc::new(program);
    let failed = |pd: &PdPlan| {
        let pd = pd.name.clone();
        |failure| LaunchError::Pd { pd, failure }
    };
    let mut pds = pds.iter();
    let mut begun = VecDeque::new();
    loop {
        for pd in pds.by_ref().take(AHEAD - begun.len()) {
            begun
                .push_back(begin(launch, resources, (identity, by), seam, &program, pd).map_err(failed(pd))?);
        }
        if let By::Session(session) = by
            && pds.len() == 0
            && !launch.restarts()
        {
            session.close();
        }
        let Some(oldest) = begun.pop_front() else { return Ok(()) };
        let pd = oldest.pd;
        set_up(launch, (identity, by), seam, oldest, starting).map_err(failed(pd))?;
    }
}

/// How many PDs' clones are on order at a time: enough that the process that clones need not wait for this one.
const AHEAD: usize = 4;

/// A PD whose process is on order.
struct Begun<'a> {
    pd: &'a PdPlan,
    coming: Coming,
    status: OwnedFd,
    times: StepTimes,
}

fn begin<'a, S: Seam>(
    launch: &Launch,
    resources: &Resources,
    (identity, by): (Identity, By<'_>),
    seam: &S,
    program: &Rc<File>,
    pd: &'a PdPlan,
) -> Result<Begun<'a>, Failure> {
    let at = |errno: Errno| Failure::new(Step::Clone, errno);
    let mut times = [0; Step::ALL.len()];
    times[Step::Clone as usize] = floor::cycles();
    seam.before(Step::Clone, &pd.name).map_err(at)?;

    let status = pipe().map_err(at)?;
    set_nonblocking(&status.read).map_err(at)?;
    let handoff = handoff::handoff(launch, resources, pd, status.write.as_raw_fd());
    let text = serde_json::to_vec(&handoff).map_err(|_| at(Errno::EINVAL))?;
    let handoff_file = memfd::constant("handoff", &text).map_err(|error| at(errno_of(&error)))?;

    let mut keep = handoff.descriptors_needed();
    keep.push(handoff_file.as_raw_fd());
    let arguments =
        [format!("{ARGV0_PREFIX}{}", pd.name), handoff_file.as_raw_fd().to_string(), seam.argument()];
    let exec = ExecPlan {
        program: Rc::clone(program),
        arguments: arguments.map(|argument| CString::new(argument).unwrap_or_default()).into(),
        become_mapped: identity.must_change(),
        keep,
        status: status.write.as_raw_fd(),
        given: vec![handoff_file.into(), status.write],
        before_identity: seam.before(Step::Identity, &pd.name).err(),
        before_exec: seam.before(Step::Exec, &pd.name).err(),
    };
    if let Some(mut coming) = resources.first.take() {
        coming.becomes(exec);
        return Ok(Begun { pd, coming, status: status.read, times });
    }
    let (memory, launcher) = (memory(identity.must_change()), resources.launcher.as_fd());
    let coming = bare::clone_and_exec(namespaces(seam), by, memory, launcher, exec).map_err(at)?;
    Ok(Begun { pd, coming, status: status.read, times })
}

/// What a child has that must change its user, or need not.
pub(super) fn memory(must_change: bool) -> Memory {
    match must_change && !privilege::has(Capability::CAP_SYS_PTRACE) {
        false => Memory::Shared,
        true => Memory::Copied,
    }
}

pub(super) fn namespaces<S: Seam>(seam: &S) -> u64 {
    match seam.leaves_out(Layer::Namespaces) {
        false => clone::NAMESPACES,
        true => clone::NAMESPACES_OF_THE_ROOT,
    }
}

fn set_up<S: Seam>(
    launch: &Launch,
    (identity, by): (Identity, By<'_>),
    seam: &S,
    begun: Begun<'_>,
    starting: &mut Vec<Starting>,
) -> Result<(), Failure> {
    let at = |step: Step| move |errno: Errno| Failure::new(step, errno);
    let Begun { pd, coming, status, mut times } = begun;
    let mut step = |step: Step| {
        times[step as usize] = floor::cycles();
        seam.before(step, &pd.name).map_err(at(step))
    };
    let (child, in_use) = coming.arrived().map_err(at(Step::Clone))?;
    let pid = child.pid;
    // From here on the child is known, so that whatever fails next ends it.
    starting.push(Starting {
        index: pd.index,
        child,
        status,
        layout: None,
        times: [0; Step::ALL.len()],
        in_use: Some(in_use),
    });

    step(Step::Trace)?;
    // What a traced process clones, its tracer traces from the first instruction: the launcher has attached to the starter.
    if let By::Session(_) = by {
        trace::seize(pid).map_err(|errno| match trace::next_event_of(pid) {
            Ok(Some(trace::Event::Killed(_, signal))) => Failure {
                detail: format!("its process was ended by {}", trace::signal_name(signal)),
                ..Failure::new(Step::Trace, Errno::ECHILD)
            },
            _ => Failure {
                detail: "ptrace is how faults are heard; kernel.yama.ptrace_scope=3 forbids it".into(),
                ..Failure::new(Step::Trace, errno)
            },
        })?;
    }
    step(Step::Scheduling)?;
    // Under seL4's schedule the launcher decides alone; Linux's priorities would only delay what it has decided.
    if launch.schedule == Schedule::Linux
        && scheduling::apply(pid, pd, launch.realtime).map_err(at(Step::Scheduling))?
    {
        tracing::warn!(
            "PD `{}`: this host does not allow realtime priorities; nice {} instead",
            pd.name,
            scheduling::nice(pd.nice)
        );
    }
    step(Step::IdMaps)?;
    identity.write_maps(pid, &launch.plan, pd.index).map_err(at(Step::IdMaps))?;
    if let Some(pd) = starting.last_mut() {
        pd.times = times;
        pd.in_use.as_ref().map_or(Ok(()), InUse::go).map_err(at(Step::IdMaps))?;
    }
    Ok(())
}

fn wait_until_ready(
    launch: &Launch,
    signals: &SignalFd,
    starting: &mut [Starting],
) -> Result<(), LaunchError> {
    let deadline = Instant::now() + START_LIMIT;
    loop {
        for pd in starting.iter_mut().filter(|pd| pd.layout.is_none()) {
            let name = &launch.plan.pd(pd.index).name;
            while let Some(event) = trace::next_event_of(pd.child.pid).map_err(|errno| {
                LaunchError::Prepare { what: "waiting for PDs to become ready".into(), source: errno.into() }
            })? {
                handle(pd, event).map_err(|failure| LaunchError::Pd { pd: name.clone(), failure })?;
                if pd.layout.is_some() {
                    break;
                }
            }
        }
        let Some(waiting) = starting.iter().find(|pd| pd.layout.is_none()) else { return Ok(()) };
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(LaunchError::Pd {
                pd: launch.plan.pd(waiting.index).name.clone(),
                failure: Failure {
                    detail: format!("not ready after {} s", START_LIMIT.as_secs()),
                    ..Failure::new(Step::Ready, Errno::ETIMEDOUT)
                },
            });
        }
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let mut fds = [PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => {
                return Err(LaunchError::Prepare {
                    what: "waiting for PDs to become ready".into(),
                    source: errno.into(),
                });
            }
        }
        heed(signals)?;
    }
}

/// Takes the signals that have come: those of children say nothing yet, any other asks for the end.
pub(super) fn heed(signals: &SignalFd) -> Result<(), LaunchError> {
    while let Ok(Some(signal)) = signals.read_signal() {
        if signal.ssi_signo != libc::SIGCHLD as u32 {
            return Err(LaunchError::Interrupted);
        }
    }
    Ok(())
}

fn handle(pd: &mut Starting, event: trace::Event) -> Result<(), Failure> {
    use trace::Event;
    let pid = event.pid();
    match event {
        Event::Signal(..) if is_ready(pid) => match read_report(&pd.status) {
            Some(Report::Layout(layout, times)) => {
                pd.layout = Some(layout);
                pd.in_use = None;
                for (known, time) in pd.times.iter_mut().zip(times.iter()) {
                    *known = (*known).max(*time);
                }
            }
            Some(Report::Failed(failure)) => return Err(failure),
            None => return Err(Failure::new(Step::Ready, Errno::EPROTO)),
        },
        Event::Signal(_, signal) => {
            let info = trace::signal_info(pid).ok();
            if info.is_none_or(|info| info.code <= 0) {
                // Sent by somebody, not caused by the PD: it has no meaning here.
                let _ = trace::resume(pid);
                return Ok(());
            }
            let detail = match info.and_then(|info| info.syscall) {
                Some((number, _)) => format!(
                    "the loading filter denied system call {}",
                    crate::policy::syscall_name(number as u64).map_or(number.to_string(), str::to_owned)
                ),
                None => format!("{} in the PD host", trace::signal_name(signal)),
            };
            return Err(Failure { detail, ..Failure::new(Step::Image, Errno::EFAULT) });
        }
        Event::Interrupted(_) => {
            let _ = trace::resume(pid);
        }
        Event::GroupStopped(_) => {
            let _ = trace::listen(pid);
        }
        Event::Exited(_, status) => {
            return Err(read_failure(&pd.status).unwrap_or_else(|| Failure {
                detail: format!("its process ended with status {status}"),
                ..Failure::new(Step::FinalFilter, Errno::ECHILD)
            }));
        }
        Event::Killed(_, signal) => {
            return Err(read_failure(&pd.status).unwrap_or_else(|| Failure {
                detail: format!("its process was ended by {}", trace::signal_name(signal)),
                ..Failure::new(Step::Ready, Errno::ECHILD)
            }));
        }
    }
    Ok(())
}

/// The PD made the system call that only the final filter denies: the kernel's word that the filter is in force.
fn is_ready(pid: Pid) -> bool {
    let denied = trace::signal_info(pid).ok().and_then(|info| info.syscall);
    let is_exit = denied.is_some_and(|(number, _)| i64::from(number) == libc::SYS_exit_group);
    is_exit && trace::registers(pid).is_ok_and(|registers| registers.rdi == abi::MK_READY)
}

fn read_failure(status: &OwnedFd) -> Option<Failure> {
    match read_report(status) {
        Some(Report::Failed(failure)) => Some(failure),
        _ => None,
    }
}

/// Either the bare child's fixed bytes or the PD host's JSON.
fn read_report(status: &OwnedFd) -> Option<Report> {
    let mut bytes = [0; REPORT_MAX];
    let count = nix::unistd::read(status, &mut bytes).ok()?;
    let bytes = &bytes[..count];
    if let Some((step, errno)) = bare::decode_failure(bytes) {
        let step = match step {
            ExecStep::Go => Step::IdMaps,
            ExecStep::Identity => Step::Identity,
            ExecStep::Exec => Step::Exec,
        };
        return Some(Report::Failed(Failure::new(step, errno)));
    }
    serde_json::from_slice(bytes).ok()
}

fn pipe() -> Result<Pipe, Errno> {
    let (read, write) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
    Ok(Pipe { read, write })
}

/// O_PATH: exec needs no read permission on the file, and nothing reads it.
trait PathOnly {
    fn custom_flags_path(&mut self) -> &mut Self;
}

impl PathOnly for std::fs::OpenOptions {
    fn custom_flags_path(&mut self) -> &mut Self {
        use std::os::unix::fs::OpenOptionsExt;
        self.custom_flags(libc::O_PATH)
    }
}
