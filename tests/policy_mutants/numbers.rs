//! The numbers of the kernel's headers that policy files name, written out a second time: linux/fcntl.h, linux/mman.h, linux/seccomp.h,
//! errno.h.

#![forbid(unsafe_code)]

use mk_sandbox::policy::Operand;

/// What an operand stands for.
pub fn value(operand: &Operand) -> u64 {
    match operand {
        Operand::Number(number) => *number as u64,
        Operand::Words(words) => words.split('|').fold(0, |bits, word| bits | number(word)),
    }
}

fn number(word: &str) -> u64 {
    match word {
        "PROT_NONE" | "O_RDONLY" => 0,
        "PROT_READ" | "SECCOMP_SET_MODE_FILTER" => 1,
        "PROT_WRITE" | "MAP_PRIVATE" => 2,
        "PROT_EXEC" => 4,
        "MAP_TYPE" => 0xf,
        "MAP_FIXED" => 0x10,
        "MAP_ANONYMOUS" => 0x20,
        "MAP_DENYWRITE" => 0x800,
        "AT_EMPTY_PATH" => 0x1000,
        "O_CLOEXEC" => 0x80000,
        "AT_FDCWD" => -100i64 as u64,
        "ENOMEM" => 12,
        other => panic!("`{other}`: add its number here"),
    }
}
