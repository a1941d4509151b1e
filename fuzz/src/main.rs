//! libFuzzer over one of the targets, which `MK_FUZZ_TARGET` names.

#![no_main]

#[allow(dead_code)]
mod judge;
mod targets;

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    static TARGET: OnceLock<targets::Target> = OnceLock::new();
    let target = TARGET.get_or_init(|| {
        let wanted = std::env::var("MK_FUZZ_TARGET").unwrap_or_default();
        let found = targets::TARGETS.iter().find(|(name, _)| *name == wanted);
        found.unwrap_or_else(|| panic!("MK_FUZZ_TARGET={wanted} is no target")).1
    });
    target(data);
});
