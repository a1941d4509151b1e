//! Numbers of the Microkit manual.

#![forbid(unsafe_code)]

/// `MICROKIT_MAX_CHANNEL_ID`: also the largest id of an irq, an ioport, a child and a vcpu.
pub(super) const MAX_ID: u8 = 61;

/// PDs in one system.
pub(super) const MAX_PDS: usize = 63;

/// Bytes of a name: `MICROKIT_PD_NAME_LENGTH` without the terminating NUL.
pub(super) const MAX_PD_NAME: usize = 63;

/// The name of Microkit's own PD.
pub(super) const MONITOR: &str = "monitor";

/// `priority`: 255 is the monitor's.
pub(super) const MAX_PRIORITY: u64 = 254;

/// Microseconds of `budget` where the file gives none.
pub(super) const DEFAULT_BUDGET_US: u64 = 1000;

/// Bytes of `stack_size`: least, most, and where the file gives none.
pub(super) const MIN_STACK: u64 = 0x1000;
pub(super) const MAX_STACK: u64 = 0x100_0000;
pub(super) const DEFAULT_STACK: u64 = 0x2000;

/// Bytes of the page below the stack that holds the IPC buffer.
pub(super) const IPC_BUFFER: u64 = 0x1000;

/// Page sizes, in bytes.
pub(super) const SMALL_PAGE: u64 = 0x1000;
pub(super) const LARGE_PAGE: u64 = 0x20_0000;

/// `slot` of a capability in `cspace`.
pub(super) const SLOTS: (u64, u64) = (1, 127);

/// Interrupt vectors of x86 that are free for PDs.
pub(super) const MAX_VECTOR: u64 = 107;

/// Port numbers of x86.
pub(super) const IO_PORTS: u64 = 0x1_0000;

/// Domains of one system, and so the number of domain ids.
pub(super) const MAX_DOMAINS: usize = 16;

/// Entries and end markers of a domain schedule are fewer.
pub(super) const SCHEDULE_LENGTH: u64 = 100;
