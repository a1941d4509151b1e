//! Every rule of the launcher's filter is needed: without it, one of a few ordinary runs is ended by the filter.

#![forbid(unsafe_code)]

use mk_sandbox::policy::{Answer, Policy};

use crate::Stage;
use crate::cases::Cases;
use crate::common::User;

/// Calls of malloc and the standard library that may come at any time, or in builds other than this one; and `write`, without which
/// nothing is told of any.
const AT_ANY_TIME: [&str; 13] = [
    "write",
    "brk",
    "mmap",
    "mprotect",
    "mremap",
    "munmap",
    "madvise",
    "futex",
    "getrandom",
    "restart_syscall",
    "sigaltstack",
    "close",
    "exit_group",
];

/// What a busy host keeps from happening in one run, two PDs in the midst of something at once, happens in another.
const ROUNDS: usize = 8;

const RUNS: [&[&str]; 4] = [
    &["--until-idle", "family.system"],
    &["--until-idle", "--schedule=microkit", "family.system"],
    &["--until-idle", "--on-fault=restart", "--timeout=300ms", "family.system"],
    &["--until-idle", "quiet.system"],
];

/// Adds the cases.
pub fn cases(cases: &mut Cases, stage: &Stage) {
    if stage.world.user() == User::Root {
        // The same for both.
        return;
    }
    let policy = Policy::launcher().unwrap();
    for (index, rule) in policy.rules.iter().enumerate() {
        // Somebody outside has to stop a PD for it: tests/run/outside.rs.
        let is_listen = rule.to_string().contains("PTRACE_LISTEN");
        if is_listen || AT_ANY_TIME.contains(&rule.syscall.as_str()) || rule.answer != Answer::Allow {
            continue;
        }
        cases.case(&format!("{}: without the rule {rule}", stage.user()), || {
            let denied = format!(" {}; the system ends", rule.syscall);
            let mut runs = (0..ROUNDS).flat_map(|_| RUNS);
            let run =
                runs.find(|run| stage.run(&format!("rule{index} never -"), run).stderr.contains(&denied));
            format!("ended by the filter: {:?}", run.expect("a run that needs it"))
        });
    }
}
