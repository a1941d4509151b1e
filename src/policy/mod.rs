//! Which system calls a PD may make. The rules are data (`policy/*.json`, one reason beside each); this module reads
//! them into typed rules, compiles them to the kernel's filter programs, and can run such a program on paper, which is
//! how the tests know what a filter says without installing it.

#![forbid(unsafe_code)]

mod compile;
mod constants;
mod data;
mod denials;
mod evaluate;
pub mod landlock;
mod syscalls;

pub use compile::{Filters, PlanValues, PolicyError, Program};
pub use data::{Answer, Arg, Op, Operand, Otherwise, Policy, Rule, Width};
pub use denials::{Argument, Denial, Form, TEXT_MAX, denial, missing_rule};
pub use evaluate::{AUDIT_ARCH_X86_64, Action, BadProgram, SeccompData, evaluate, evaluate_all};
pub use syscalls::{X32_BIT, syscall_name, syscall_number};
