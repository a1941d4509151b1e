//! The launcher confines itself. Once every PD is ready it watches and prints; what it does not need for that it gives up for good,
//! before a PD has run: whoever takes it over through what a PD says finds a process without capabilities, files, sockets and
//! children of its own making.
//!
//! Its Landlock domain comes after the PDs' start, so it is none of theirs: inside of one nobody can mount, and a PD makes its root by
//! mounts. From then on it may not begin to trace anything, nor open what /proc tells tracers alone. It needs neither: PDs are traced,
//! the files about them are open ([`crate::sys::procfs`]), and those that are started again are traced from their first instruction
//! ([`super::starter`]).

#![forbid(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use ::landlock::{RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope};
use nix::errno::Errno;

use super::{Launch, LaunchError, Resources, Starter};
use crate::exit::Exit;
use crate::pd::Seam;
use crate::policy::landlock::{self, Handled};
use crate::policy::{PlanValues, Policy, PolicyError, Program, syscall_name};
use crate::sys::{privilege, seccomp, signals};

/// What takes nothing from this process that the start of a PD needs.
#[derive(Debug)]
pub struct Confinement {
    /// `None` where a test leaves the filter out.
    program: Option<Program>,
    ruleset: RulesetCreated,
}

impl Confinement {
    fn new<S: Seam>(launch: &Launch, starter: Option<&Starter>, seam: &S) -> Result<Self, LaunchError> {
        // What exec could give to a process; the PDs' and the one that starts them again are there.
        privilege::bound(&[]).map_err(io::Error::from).map_err(failed)?;
        let program = filter(starter, seam).map_err(io::Error::other).map_err(failed)?;
        let ruleset = ruleset(launch.landlock_abi).map_err(io::Error::other).map_err(failed)?;
        Ok(Self { program, ruleset })
    }
}

fn failed(source: io::Error) -> LaunchError {
    LaunchError::Confined { what: "confining the launcher itself".into(), source }
}

/// Does what can be done of [`confine`] as soon as every PD's process is there, while they start. What only is known when there is a process that
/// starts PDs again, must wait for it.
///
/// # Errors
/// A layer cannot be had.
pub fn begin_to_confine<S: Seam>(launch: &Launch, seam: &S) -> Result<Option<Confinement>, LaunchError> {
    (!launch.restarts()).then(|| Confinement::new(launch, None, seam)).transpose()
}

/// Gives up whatever watching needs not. From here on this process can open no file: what is to be written later is opened
/// before, and written through its descriptor.
///
/// # Errors
/// A layer cannot be had, or has no effect: then no PD may run.
pub fn confine<S: Seam>(
    launch: &Launch,
    resources: &mut Resources,
    seam: &S,
    begun: Option<Confinement>,
) -> Result<(), LaunchError> {
    if launch.restarts() {
        resources.starter = Some(Starter::new(launch, resources, seam)?);
    }
    // Its leader has all that this process has, and nothing more to do.
    resources.session = None;
    let confinement = match begun {
        Some(confinement) => confinement,
        None => Confinement::new(launch, resources.starter.as_ref(), seam)?,
    };
    try_confine(confinement, seam).map_err(failed)?;
    seam.confined(resources.starter.as_ref().map(Starter::pid));
    Ok(())
}

fn try_confine<S: Seam>(confinement: Confinement, seam: &S) -> io::Result<()> {
    seam.before_own()?;
    privilege::no_new_privileges()?;
    privilege::give_up_capabilities(&[])?;
    if seam.own_landlock() {
        let status = confinement.ruleset.no_new_privs(false).restrict_self().map_err(io::Error::other)?;
        let opened = File::open("/").map_err(|error| error.raw_os_error());
        if status.ruleset != RulesetStatus::FullyEnforced || !matches!(opened, Err(Some(libc::EACCES))) {
            return Err(Errno::EOPNOTSUPP.into());
        }
    }
    if let Some(program) = confinement.program {
        signals::end_at_denied_call(Exit::Internal as i32, syscall_name)?;
        seccomp::install(&program.words)?;
    }
    Ok(())
}

fn filter<S: Seam>(starter: Option<&Starter>, seam: &S) -> Result<Option<Program>, PolicyError> {
    // No descriptor and no process has these numbers where there is no starter.
    let socket = starter.map_or(u64::from(u32::MAX), |starter| starter.socket().as_raw_fd() as u64);
    let pid = starter.map_or(u64::MAX, |starter| starter.pid().as_raw() as u64);
    let values = PlanValues::new().with("starter", socket).with("starter_pid", pid);
    let policy = seam.own_policy(Policy::launcher()?);
    policy.map(|policy| policy.compile(std::env::consts::ARCH, &values)).transpose()
}

/// Everything that this host's Landlock can deny, but signals: PDs are outside of the domain, and must be ended. The filter leaves one
/// signal, to those whose descriptors are held.
fn ruleset(abi: i32) -> Result<RulesetCreated, RulesetError> {
    let all = landlock::handled(abi);
    Handled { scope: all.scope & !Scope::Signal, ..all }.ruleset()
}
