//! The PD host: what runs in a PD's process from exec until libmicrokit takes over. It is this same binary, started by the
//! launcher with nothing but a handoff; it builds the PD's memory and its confinement and then leaves for good.

mod confine;
mod handoff;
mod host;
mod load;
mod map;
mod root;
mod seam;
mod step;

pub use handoff::{Handoff, HostEnd, Layout, PeerMemory, REPORT_MAX, Report, Without};
pub use host::{ARGV0_PREFIX, entry};
pub use seam::{Layer, Seam, Shipped};
pub use step::{Failure, Step, StepTimes};
