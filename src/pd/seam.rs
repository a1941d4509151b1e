//! Where tests make a start-up step fail, or leave a layer of the sandbox out to see what the others do without it. The shipped binary is
//! built with [`Shipped`], which does nothing and leaves nothing out; only test programs have another.

#![forbid(unsafe_code)]

use nix::errno::Errno;
use nix::unistd::Pid;

use super::step::Step;
use crate::policy::Policy;

/// A layer that a test can leave out. The filters, mseal and memory-deny-write-execute are not among them: a test takes those out of its
/// own [`crate::launch::Launch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// The Landlock domains.
    Landlock,
    /// Every namespace but the user and the mount namespace, and the empty root: the PD sees the host's files, in a mount namespace that
    /// only keeps its mounts from the host.
    Namespaces,
    /// The empty capability sets and the locked securebits.
    Capabilities,
    /// Resource limits.
    Limits,
}

/// Asked before every step of every PD, in the launcher and in the PD host.
pub trait Seam: Sized {
    /// What the PD host is told on its command line, so that its side of the seam does the same.
    fn argument(&self) -> String;
    /// The PD host's side.
    fn from_argument(argument: &str) -> Self;
    /// An error makes the step fail with it.
    fn before(&self, step: Step, pd: &str) -> Result<(), Errno>;
    /// Whether this layer is left out. Nothing is where a seam does not say so.
    #[inline(always)]
    fn leaves_out(&self, _: Layer) -> bool {
        false
    }
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

impl Shipped {
    /// What a PD host without a seam is told; no test's seam says the same.
    pub(super) const ARGUMENT: &str = "shipped";
}

impl Seam for Shipped {
    fn argument(&self) -> String {
        Self::ARGUMENT.to_owned()
    }

    fn from_argument(_: &str) -> Self {
        Self
    }

    #[inline(always)]
    fn before(&self, _: Step, _: &str) -> Result<(), Errno> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shipped_leaves_nothing_out_whatever_it_is_told() {
        for argument in ["", "shipped", "Landlock", "Landlock,Namespaces,Capabilities,Limits"] {
            let shipped = Shipped::from_argument(argument);
            for layer in [Layer::Landlock, Layer::Namespaces, Layer::Capabilities, Layer::Limits] {
                assert!(!shipped.leaves_out(layer), "{argument}: {layer:?}");
            }
        }
    }
}
