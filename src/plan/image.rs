//! What a PD's start needs to know about its image: where it begins, what runs before that, what is written into it.

#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

/// Entry points, as addresses in the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entries {
    /// `init`
    pub init: u64,
    /// `notified`
    pub notified: u64,
    /// `protected`
    pub protected: Option<u64>,
    /// `fault`
    pub fault: Option<u64>,
}

/// What libmicrokit runs before `init`: (address, number of entries) of the arrays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Constructors {
    /// DT_PREINIT_ARRAY
    pub preinit_array: Option<(u64, u64)>,
    /// DT_INIT
    pub init: Option<u64>,
    /// DT_INIT_ARRAY
    pub init_array: Option<(u64, u64)>,
}

/// Bytes written into the image's writable data once it is loaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Write {
    /// Address in the image.
    pub vaddr: u64,
    /// 4 or 8 bytes, little-endian.
    pub bytes: Vec<u8>,
}

/// An image in one PD.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImagePlan {
    /// Entry points.
    pub entries: Entries,
    /// What runs before `init`.
    pub constructors: Constructors,
    /// `setvar`s in writable data; those in read-only data are already in the PD's copy of the file.
    pub writes: Vec<Write>,
    /// Libraries to load before it, besides libmicrokit and those the PD host has anyway.
    pub libraries: Vec<String>,
}
