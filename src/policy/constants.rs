//! The kernel's constants that policy files may name. A word that is not here is an error when the policy is compiled,
//! so a misspelt constant never becomes a rule.

#![forbid(unsafe_code)]

/// `None` for a name that no policy file may use.
pub(super) fn constant(name: &str) -> Option<i64> {
    Some(match name {
        "AT_EMPTY_PATH" => i64::from(libc::AT_EMPTY_PATH),
        "AT_FDCWD" => i64::from(libc::AT_FDCWD),
        "CLOCK_MONOTONIC" => i64::from(libc::CLOCK_MONOTONIC),
        "ENOMEM" => i64::from(libc::ENOMEM),
        "EPERM" => i64::from(libc::EPERM),
        "FIONREAD" => libc::FIONREAD as i64,
        "F_DUPFD_CLOEXEC" => i64::from(libc::F_DUPFD_CLOEXEC),
        "F_GETFD" => i64::from(libc::F_GETFD),
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
        "PTRACE_CONT" => i64::from(libc::PTRACE_CONT),
        "PTRACE_GETREGS" => i64::from(libc::PTRACE_GETREGS),
        "PTRACE_GETSIGINFO" => i64::from(libc::PTRACE_GETSIGINFO),
        "PTRACE_INTERRUPT" => i64::from(libc::PTRACE_INTERRUPT),
        "PTRACE_LISTEN" => i64::from(libc::PTRACE_LISTEN),
        "PTRACE_PEEKSIGINFO" => i64::from(libc::PTRACE_PEEKSIGINFO),
        "PTRACE_SETREGS" => i64::from(libc::PTRACE_SETREGS),
        "SECCOMP_SET_MODE_FILTER" => i64::from(libc::SECCOMP_SET_MODE_FILTER),
        "SIGKILL" => i64::from(libc::SIGKILL),
        _ => return None,
    })
}
