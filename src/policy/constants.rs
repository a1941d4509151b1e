//! The kernel's constants that policy files may name. A word that is not here is an error when the policy is compiled,
//! so a misspelt constant never becomes a rule.

#![forbid(unsafe_code)]

/// `None` for a name that no policy file may use.
pub(super) fn constant(name: &str) -> Option<i64> {
    Some(match name {
        "AT_EMPTY_PATH" => i64::from(libc::AT_EMPTY_PATH),
        "AT_FDCWD" => i64::from(libc::AT_FDCWD),
        "ENOMEM" => i64::from(libc::ENOMEM),
        "MAP_ANONYMOUS" => i64::from(libc::MAP_ANONYMOUS),
        "MAP_DENYWRITE" => i64::from(libc::MAP_DENYWRITE),
        "MAP_FIXED" => i64::from(libc::MAP_FIXED),
        "MAP_PRIVATE" => i64::from(libc::MAP_PRIVATE),
        "MAP_TYPE" => i64::from(libc::MAP_TYPE),
        "O_CLOEXEC" => i64::from(libc::O_CLOEXEC),
        "O_RDONLY" => i64::from(libc::O_RDONLY),
        "PROT_EXEC" => i64::from(libc::PROT_EXEC),
        "PROT_NONE" => i64::from(libc::PROT_NONE),
        "PROT_READ" => i64::from(libc::PROT_READ),
        "PROT_WRITE" => i64::from(libc::PROT_WRITE),
        "SECCOMP_SET_MODE_FILTER" => i64::from(libc::SECCOMP_SET_MODE_FILTER),
        _ => return None,
    })
}
