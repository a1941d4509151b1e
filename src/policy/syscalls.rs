//! Names and numbers of the system calls of x86-64 Linux: for the rules of the policy, and for reports of faults.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::sync::LazyLock;

/// `NUMBER NAME` lines; `#` begins a remark.
const TABLE: &str = include_str!("../../policy/syscalls_x86_64.txt");

static NAMES: LazyLock<BTreeMap<u64, &'static str>> = LazyLock::new(|| entries().collect());

fn entries() -> impl Iterator<Item = (u64, &'static str)> {
    TABLE.lines().filter_map(|line| {
        let (number, name) = line.split_once(' ')?;
        Some((number.parse().ok()?, name))
    })
}

/// `__X32_SYSCALL_BIT` (asm/unistd.h): set in the numbers of the x32 interface.
pub const X32_BIT: u64 = 0x4000_0000;

/// The name of system call `nr` as the kernel got it in the register; `None` where x86-64 has no such call, which
/// includes the x32 numbers (bit 30 set).
pub fn syscall_name(nr: u64) -> Option<&'static str> {
    NAMES.get(&nr).copied()
}

/// The number of the system call of this name.
pub fn syscall_number(name: &str) -> Option<u64> {
    NAMES.iter().find(|(_, known)| **known == name).map(|(nr, _)| *nr)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_a_remark_or_an_entry_in_ascending_order() {
        let lines = TABLE.lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!(entries().count(), lines);
        assert!(entries().zip(entries().skip(1)).all(|((a, _), (b, _))| a < b));
        assert_eq!(NAMES.len(), lines);
    }

    #[test]
    fn numbers_are_the_c_librarys() {
        for (name, nr) in [
            ("read", libc::SYS_read),
            ("write", libc::SYS_write),
            ("newfstatat", libc::SYS_newfstatat),
            ("exit_group", libc::SYS_exit_group),
            ("clone3", libc::SYS_clone3),
            ("landlock_restrict_self", libc::SYS_landlock_restrict_self),
            ("mseal", libc::SYS_mseal),
        ] {
            assert_eq!(syscall_number(name), u64::try_from(nr).ok(), "{name}");
            assert_eq!(syscall_name(nr as u64), Some(name));
        }
    }

    #[test]
    fn what_is_no_call_has_no_name() {
        for nr in [400, 511, 0x4000_0000, u64::MAX] {
            assert_eq!(syscall_name(nr), None, "{nr}");
        }
        assert_eq!(syscall_number("open_sesame"), None);
    }
}
