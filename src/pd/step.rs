//! The start of a PD, step by step. This order is part of the sandbox: what a step needs is taken away by a later one.

#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

/// A step of starting one PD, in the order they run. The first six are the launcher's and the bare child's, the rest the PD
/// host's. A failure carries the step and errno; no PD of the system runs then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Launcher: clone3 into new user, mount, pid, net, ipc, uts, cgroup and time namespaces.
    Clone,
    /// Launcher: become its tracer, so that it cannot outlive the launcher and its faults are heard.
    Trace,
    /// Launcher: its CPU and priority.
    Scheduling,
    /// Launcher: setgroups, gid_map and uid_map of its user namespace.
    IdMaps,
    /// Child: user and group 0 of the namespace, no supplementary groups (as root only).
    Identity,
    /// Child: exec of the PD host with an empty environment.
    Exec,
    /// Read what the launcher hands over.
    Handoff,
    /// Parent-death signal, and a check that the parent is still there; default signal actions.
    ParentDeath,
    /// Its own session and process name.
    Session,
    /// The UTS namespace's host name is the PD's name.
    Hostname,
    /// Map its channel memory read-write and its peers' read-only.
    Channels,
    /// Map its regions at their addresses, with guards.
    Regions,
    /// Its stack, between guards.
    Stack,
    /// Load libmicrokit and the C runtime's libraries the image needs.
    Libraries,
    /// An empty tmpfs with nothing but the image becomes the root, read-only; the old one is gone.
    Root,
    /// Resource limits.
    Limits,
    /// Empty all capability sets and lock the securebits.
    Capabilities,
    /// no_new_privs, not dumpable, memory-deny-write-execute.
    Privileges,
    /// Put the granted descriptors at their numbers and close all others.
    Descriptors,
    /// Landlock: every right handled, only reading the image left.
    Landlock,
    /// The filter for loading the image.
    LoadingFilter,
    /// Load the image; none of its code runs.
    Image,
    /// Take the last Landlock right away.
    LandlockAll,
    /// Write the symbols that the system file sets.
    Variables,
    /// Set the heap and the C library's buffers aside.
    Heap,
    /// mseal every mapping.
    Seal,
    /// The filters it runs under.
    FinalFilter,
    /// libmicrokit tells the launcher by a denied system call that it is ready.
    Ready,
}

impl Step {
    /// Every step in order.
    pub const ALL: [Self; 28] = [
        Self::Clone,
        Self::Trace,
        Self::Scheduling,
        Self::IdMaps,
        Self::Identity,
        Self::Exec,
        Self::Handoff,
        Self::ParentDeath,
        Self::Session,
        Self::Hostname,
        Self::Channels,
        Self::Regions,
        Self::Stack,
        Self::Libraries,
        Self::Root,
        Self::Limits,
        Self::Capabilities,
        Self::Privileges,
        Self::Descriptors,
        Self::Landlock,
        Self::LoadingFilter,
        Self::Image,
        Self::LandlockAll,
        Self::Variables,
        Self::Heap,
        Self::Seal,
        Self::FinalFilter,
        Self::Ready,
    ];

    /// What was being done, to follow "while".
    pub fn doing(self) -> &'static str {
        match self {
            Self::Clone => "creating its process and namespaces",
            Self::Trace => "becoming its tracer",
            Self::Scheduling => "setting its CPU and priority",
            Self::IdMaps => "writing its user and group maps",
            Self::Identity => "changing to its own user",
            Self::Exec => "starting the PD host",
            Self::Handoff => "reading the handoff",
            Self::ParentDeath => "tying it to the launcher's life",
            Self::Session => "starting its session",
            Self::Hostname => "setting its host name",
            Self::Channels => "mapping its channels",
            Self::Regions => "mapping its memory regions",
            Self::Stack => "making its stack",
            Self::Libraries => "loading libmicrokit",
            Self::Root => "making its empty root",
            Self::Limits => "setting its resource limits",
            Self::Capabilities => "dropping its capabilities",
            Self::Privileges => "giving up privileges",
            Self::Descriptors => "closing its descriptors",
            Self::Landlock => "applying Landlock",
            Self::LoadingFilter => "installing the loading filter",
            Self::Image => "loading its image",
            Self::LandlockAll => "taking away its last file access",
            Self::Variables => "setting its variables",
            Self::Heap => "setting its heap aside",
            Self::Seal => "sealing its memory",
            Self::FinalFilter => "installing the final filter",
            Self::Ready => "becoming ready",
        }
    }
}

/// When each step of a PD began, in cycles of the time stamp counter, by `Step as usize`; 0 where it was not seen.
pub type StepTimes = [u64; Step::ALL.len()];

/// Why a PD could not be started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// In which step.
    pub step: Step,
    /// What the kernel said; 0 where it was not the kernel that refused.
    pub errno: i32,
    /// More about it, for people.
    pub detail: String,
    /// The address that could not be mapped, where the system file asked for it.
    pub address: Option<u64>,
}

impl Failure {
    /// A failure by errno alone.
    pub fn new(step: Step, errno: nix::errno::Errno) -> Self {
        Self { step, errno: errno as i32, detail: String::new(), address: None }
    }
}
