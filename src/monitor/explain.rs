//! A denied system call, explained: its arguments, the rule it would take, why there is none, and what there is instead.

#![forbid(unsafe_code)]

use nix::unistd::Pid;

use crate::policy::{TEXT_MAX, X32_BIT, denial, missing_rule, syscall_name};
use crate::sys::{abi, procfs};

/// What is said of a denied system call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeniedCall {
    /// Its name; `None` for a number that Linux does not have on x86-64.
    pub name: Option<&'static str>,
    /// `openat(dirfd=AT_FDCWD, path="/etc/passwd", flags=O_RDONLY)`
    pub shown: String,
    /// Why there is no rule for it.
    pub why: &'static str,
    /// The rule that would have to exist.
    pub rule: String,
    /// What to use instead.
    pub instead: Option<&'static str>,
}

/// Explains a call of a stopped PD. Texts are read from its memory, which may hold anything.
pub fn denied(pid: Pid, number: i64, arguments: &[u64; 6]) -> DeniedCall {
    let all = || arguments.map(|argument| format!("{argument:#x}")).join(", ");
    if number == libc::SYS_exit_group && arguments[0] == abi::MK_LAUNCHER_CALL {
        return DeniedCall {
            name: Some("exit_group"),
            shown: format!("exit_group({})", all()),
            why: "a question to the launcher that this PD may not ask",
            rule:
                "a child or a cspace in the system file gives such questions, and --schedule microkit others"
                    .into(),
            instead: None,
        };
    }
    let name = u64::try_from(number).ok().and_then(syscall_name);
    let rule = missing_rule(number, arguments);
    let (Some(name), Some(denial)) = (name, denial(number)) else {
        let is_x32 = u64::try_from(number).is_ok_and(|number| number & X32_BIT != 0);
        return DeniedCall {
            name: None,
            shown: format!("{number}({})", all()),
            why: if is_x32 {
                "a call of the x32 interface, and PDs are 64-bit programs"
            } else {
                "Linux has no such system call on x86-64 that this version knows"
            },
            rule,
            instead: None,
        };
    };
    let shown = denial.arguments.iter().zip(arguments).map(|(argument, value)| {
        format!("{}={}", argument.name, argument.form.show(*value, |address| text(pid, address)))
    });
    DeniedCall {
        name: Some(name),
        shown: format!("{name}({})", shown.collect::<Vec<_>>().join(", ")),
        why: denial.why,
        rule,
        instead: Some(denial.instead),
    }
}

/// A text of the PD up to its NUL, or as much of it as is ever shown. `None` where nothing can be read.
fn text(pid: Pid, address: u64) -> Option<Vec<u8>> {
    let mut bytes = vec![0; TEXT_MAX + 1];
    let read = procfs::read_some(pid, address, &mut bytes);
    bytes.truncate(read);
    let end = bytes.iter().position(|byte| *byte == 0);
    bytes.truncate(end.unwrap_or(read));
    (read > 0).then_some(bytes)
}
