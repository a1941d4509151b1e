//! The layout shared with libmicrokit: Rust's side of `libmicrokit/abi.h`, held to that file's numbers at compile time.
//! The C side asserts the same numbers, so neither can move alone.

#![allow(missing_docs)] // Every constant and field is described in libmicrokit/abi.h.
#![forbid(unsafe_code)]

use std::mem::{offset_of, size_of};

include!(concat!(env!("OUT_DIR"), "/abi_numbers.rs"));

/// `struct mk_end`
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct End {
    pub out: u64,
    pub incoming: u64,
    pub peer_status: u64,
    pub peer_doorbell: i32,
    pub rights: u32,
    pub id: u32,
    pub peer_priority: u32,
}

/// `struct mk_functions`
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Functions {
    pub address: u64,
    pub count: u64,
}

/// `struct mk_handoff`
#[repr(C)]
#[derive(Clone, Debug)]
pub struct Handoff {
    pub version: u32,
    pub size: u32,
    pub name: [u8; MK_NAME_LENGTH as usize],
    pub status: u64,
    pub doorbell: i32,
    pub console: i32,
    pub init: u64,
    pub notified: u64,
    pub protected_entry: u64,
    pub fault: u64,
    pub preinit_array: Functions,
    pub dt_init: u64,
    pub init_array: Functions,
    pub irqs: u64,
    pub notifications: u64,
    pub pps: u64,
    pub ioports: u64,
    pub passive: u32,
    pub wait: u32,
    pub spin_cycles: u64,
    pub schedule: u32,
    pub end_count: u32,
    pub ends: [End; MK_MAX_ENDS as usize],
    pub supervisor: u64,
    pub children: u64,
    pub cspace: [u64; 2],
    pub cpus: u64,
    pub rest_cycles: u64,
}

const _: () = {
    assert!(size_of::<End>() as u64 == MK_SIZEOF_END);
    assert!(offset_of!(End, rights) as u64 == MK_END_OFF_RIGHTS);
    assert!(size_of::<Handoff>() as u64 == MK_SIZEOF_HANDOFF);
    assert!(offset_of!(Handoff, name) as u64 == MK_HANDOFF_OFF_NAME);
    assert!(offset_of!(Handoff, status) as u64 == MK_HANDOFF_OFF_STATUS);
    assert!(offset_of!(Handoff, init) as u64 == MK_HANDOFF_OFF_INIT);
    assert!(offset_of!(Handoff, preinit_array) as u64 == MK_HANDOFF_OFF_PREINIT_ARRAY);
    assert!(offset_of!(Handoff, init_array) as u64 == MK_HANDOFF_OFF_INIT_ARRAY);
    assert!(offset_of!(Handoff, irqs) as u64 == MK_HANDOFF_OFF_IRQS);
    assert!(offset_of!(Handoff, spin_cycles) as u64 == MK_HANDOFF_OFF_SPIN_CYCLES);
    assert!(offset_of!(Handoff, end_count) as u64 == MK_HANDOFF_OFF_END_COUNT);
    assert!(offset_of!(Handoff, ends) as u64 == MK_HANDOFF_OFF_ENDS);
    assert!(offset_of!(Handoff, supervisor) as u64 == MK_HANDOFF_OFF_SUPERVISOR);
};
