//! Where tests make a start-up step fail. The shipped binary is built with [`Shipped`], which does nothing; only test programs
//! have another.

#![forbid(unsafe_code)]

use nix::errno::Errno;
use nix::unistd::Pid;

use super::step::Step;
use crate::policy::Policy;

/// Asked before every step of every PD, in the launcher and in the PD host.
pub trait Seam: Sized {
    /// What the PD host is told on its command line, so that its side of the seam does the same.
    fn argument(&self) -> String;
    /// The PD host's side.
    fn from_argument(argument: &str) -> Self;
    /// An error makes the step fail with it.
    fn before(&self, step: Step, pd: &str) -> Result<(), Errno>;
    /// An error makes the launcher's own confinement fail with it.
    fn before_own(&self) -> Result<(), Errno> {
        Ok(())
    }
    /// The rules for the launcher itself; `None` leaves its filter out.
    fn own_policy(&self, policy: Policy) -> Option<Policy> {
        Some(policy)
    }
    /// False leaves the launcher's own Landlock domain out.
    fn own_landlock(&self) -> bool {
        true
    }
    /// The launcher has confined itself; the process that starts PDs again, if there is one.
    fn confined(&self, _starter: Option<Pid>) {}
}

/// No seam.
#[derive(Clone, Copy, Debug)]
pub struct Shipped;

impl Seam for Shipped {
    fn argument(&self) -> String {
        String::new()
    }

    fn from_argument(_: &str) -> Self {
        Self
    }

    #[inline(always)]
    fn before(&self, _: Step, _: &str) -> Result<(), Errno> {
        Ok(())
    }
}
