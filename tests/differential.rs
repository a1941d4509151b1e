//! The filters as they are compiled against a second reading of the policy files, for a million calls made at random around the values that
//! count; and a sample of the same calls made to the kernel, so that both are held to what it does.

#[path = "../fuzz/src/judge.rs"]
mod judge;
#[path = "common/random.rs"]
mod random;

use std::collections::BTreeSet;

use judge::{judge, number, together};
use mk_sandbox::policy::{
    Action, Operand, PlanValues, Policy, Program, Rule, SeccompData, evaluate_all, syscall_number,
};
use mk_sandbox::sys::{privilege, seccomp};

use random::Random;

const CALLS: usize = 1_000_000;
const SAMPLE: usize = 10_000;
const X86_64: u32 = 0xc000_003e;
const X32_BIT: u32 = 0x4000_0000;
/// Values that launcher.json takes from the plan.
const VALUES: [(&str, u64); 2] = [("starter", 5), ("starter_pid", 4_194_303)];

/// One policy, or several in force together.
struct Subject {
    name: &'static str,
    policies: Vec<Policy>,
    programs: Vec<Program>,
    /// Every number that some rule compares an argument with, and the calls they are of.
    values: Vec<u64>,
    calls: Vec<u32>,
    /// Every rule: its call, and for each condition which argument and what it is compared with.
    rules: Vec<(u32, Vec<(usize, u64)>)>,
}

impl Subject {
    fn new(name: &'static str, policies: Vec<Policy>) -> Self {
        let plan = VALUES.iter().fold(PlanValues::new(), |all, (name, value)| all.with(name, *value));
        let programs = policies.iter().map(|policy| policy.compile("x86_64", &plan).unwrap()).collect();
        let rules: Vec<&Rule> = policies.iter().flat_map(|policy| &policy.rules).collect();
        let operands =
            rules.iter().flat_map(|rule| &rule.args).flat_map(|arg| arg.mask.iter().chain([&arg.value]));
        let values: BTreeSet<u64> = operands.map(value).collect();
        let rules: Vec<(u32, Vec<(usize, u64)>)> = rules
            .iter()
            .map(|rule| {
                let args = rule.args.iter().map(|arg| (usize::from(arg.index), value(&arg.value)));
                (syscall_number(&rule.syscall).unwrap() as u32, args.collect())
            })
            .collect();
        let calls: BTreeSet<u32> = rules.iter().map(|(call, _)| *call).collect();
        let (values, calls) = (values.into_iter().collect(), calls.into_iter().collect());
        Self { name, programs, values, calls, rules, policies }
    }

    fn all() -> Vec<Self> {
        let (loading, running) = (|| Policy::loading().unwrap(), || Policy::running().unwrap());
        vec![
            Self::new("while the image is loaded", vec![loading()]),
            Self::new("while a PD runs", vec![loading(), running()]),
            Self::new("the launcher", vec![Policy::launcher().unwrap()]),
            Self::new("answers that compete", vec![Policy::parse("competing.json", COMPETING).unwrap()]),
        ]
    }

    fn compiled(&self, call: &SeccompData) -> Action {
        evaluate_all(&self.programs, call).unwrap()
    }

    fn judged(&self, call: &SeccompData) -> Action {
        together(self.policies.iter().map(|policy| judge(policy, &VALUES, call).unwrap())).unwrap()
    }

    /// A call that comes near some rule, more often than not.
    fn call(&self, random: &mut Random) -> SeccompData {
        let number = match random.below(8) {
            0 => random.below(512) as u32,
            1 => random.next() as u32,
            _ => self.calls[random.below(self.calls.len())],
        };
        let number = if random.below(16) == 0 { number ^ X32_BIT } else { number };
        let arch = match random.below(32) {
            0 => [0x4000_0003, 0xc000_00b7, 0, X86_64 ^ 1 << 30, !X86_64][random.below(5)],
            _ => X86_64,
        };
        // Half of them are some rule's own conditions, met, but for what is changed below.
        let mut args: [u64; 6] = std::array::from_fn(|_| self.argument(random));
        let fitting: Vec<_> = self.rules.iter().filter(|(call, _)| *call == number).collect();
        if !fitting.is_empty() && random.below(4) > 0 {
            for (index, value) in &fitting[random.below(fitting.len())].1 {
                args[*index] = *value;
            }
        }
        for arg in &mut args {
            if random.below(8) == 0 {
                *arg = Self::changed(*arg, random);
            }
        }
        SeccompData { nr: number, arch, instruction_pointer: random.next(), args }
    }

    fn argument(&self, random: &mut Random) -> u64 {
        match random.below(4) {
            0 => random.next(),
            1 => [0, 1, u64::MAX, 1 << 31, 1 << 32, 1 << 63, u64::from(u32::MAX)][random.below(7)],
            _ if self.values.is_empty() => 0,
            _ => self.values[random.below(self.values.len())],
        }
    }

    fn changed(value: u64, random: &mut Random) -> u64 {
        match random.below(5) {
            0 => value.wrapping_add(1),
            1 => value.wrapping_sub(1),
            2 => value ^ 1 << random.below(64),
            3 => value | random.next() << 32,
            _ => value & 0xffff_ffff,
        }
    }
}

fn value(operand: &Operand) -> u64 {
    number(operand, &VALUES).expect("the policy files compile")
}

/// Rules for one call whose answers can all hold at once: which one counts is the kernel's to say.
const COMPETING: &str = r#"{"filter": "competing", "purpose": "A test.", "otherwise": "trap", "rules": [
    {"syscall": "getppid", "reason": "r"},
    {"syscall": "getppid", "reason": "r", "action": {"errno": 7},
     "args": [{"index": 0, "name": "a", "width": 32, "op": "masked_eq", "mask": 1, "value": 1}]},
    {"syscall": "getppid", "reason": "r", "action": {"errno": 12},
     "args": [{"index": 0, "name": "a", "width": 64, "op": "masked_eq", "mask": 2, "value": 2}]},
    {"syscall": "getppid", "reason": "r", "action": {"errno": 3},
     "args": [{"index": 1, "name": "b", "width": 64, "op": "subset", "value": 255}]},
    {"syscall": "seccomp", "reason": "To install the next of these programs."},
    {"syscall": "getuid", "reason": "r", "args": [{"index": 5, "name": "f", "width": 64, "op": "eq", "value": -1}]}
]}"#;

#[test]
fn a_million_calls() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let subjects = Subject::all();
    for subject in &subjects {
        let mut seen = BTreeSet::new();
        for _ in 0..CALLS / subjects.len() {
            let call = subject.call(&mut random);
            let (compiled, judged) = (subject.compiled(&call), subject.judged(&call));
            assert_eq!(compiled, judged, "{}: {call:x?}", subject.name);
            seen.insert(compiled);
        }
        // Calls that all end alike would show little.
        assert!(seen.contains(&Action::Allow) && seen.contains(&Action::Trap), "{}: {seen:?}", subject.name);
        assert!(seen.contains(&Action::KillProcess), "{}: {seen:?}", subject.name);
    }
}

#[test]
fn the_kernel_says_the_same() {
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    for subject in Subject::all() {
        let calls: Vec<SeccompData> = std::iter::repeat_with(|| subject.call(&mut random))
            // What the kernel is asked has this architecture, and a number that it shows to filters: 335 and 336 are let through.
            .filter(|call| call.arch == X86_64 && !matches!(call.nr, 335 | 336))
            .take(SAMPLE / 4)
            .collect();
        let answers = kernel::answers(&subject.programs, &calls);
        for (call, answer) in calls.iter().zip(answers) {
            let compiled = subject.compiled(call);
            assert_eq!(compiled, answer, "{}: {call:x?}", subject.name);
        }
    }
}

/// A process under the filters that makes the calls, and its tracer. No call is made that the filters pass: in their place, "allow" is "ask the
/// tracer" (SECCOMP_RET_TRACE), the next strictest answer, to which a kernel whose tracer does not ask to be asked says ENOSYS.
mod kernel {
    use std::arch::asm;
    use std::num::NonZero;
    use std::sync::atomic::{AtomicI64, Ordering};

    use nix::errno::Errno;
    use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, munmap};
    use nix::sys::ptrace::{self, Options};
    use nix::sys::signal::{Signal, kill};
    use nix::sys::wait::{WaitStatus, waitpid};
    use nix::unistd::{ForkResult, Pid, fork};

    use super::{Action, Program, SeccompData, privilege, seccomp};

    const RET_K: u16 = 0x06;
    const RET_ALLOW: u32 = 0x7fff_0000;
    const RET_TRACE: u32 = 0x7ff0_0000;

    /// What the process shares with its tracer: the number of the call it is at, and what each has returned.
    struct Shared<'a> {
        at: &'a AtomicI64,
        results: &'a [AtomicI64],
    }

    pub fn answers(programs: &[Program], calls: &[SeccompData]) -> Vec<Action> {
        let programs: Vec<Vec<u64>> =
            programs.iter().map(|program| program.words.iter().map(|word| asking(*word)).collect()).collect();
        let words = 1 + calls.len();
        let length = NonZero::new(words * size_of::<AtomicI64>()).unwrap();
        let rights = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: new memory, page-aligned and zeroed, seen as that many words until it is unmapped below.
        let memory = unsafe { mmap_anonymous(None, length, rights, MapFlags::MAP_SHARED) }.unwrap();
        // SAFETY: as above.
        let all = unsafe { std::slice::from_raw_parts(memory.as_ptr().cast::<AtomicI64>(), words) };
        let shared = Shared { at: &all[0], results: &all[1..] };
        // SAFETY: the child makes system calls and writes to shared memory, and allocates nothing.
        let child = match unsafe { fork() }.unwrap() {
            ForkResult::Child => make(&programs, calls, &shared),
            ForkResult::Parent { child } => child,
        };
        let answers = watch(child, programs.len(), &shared);
        let _ = kill(child, Signal::SIGKILL);
        let _ = waitpid(child, None);
        // SAFETY: nobody looks at it any more.
        unsafe { munmap(memory, length.get()) }.unwrap();
        answers
    }

    fn asking(word: u64) -> u64 {
        if word as u16 == RET_K && (word >> 32) as u32 == RET_ALLOW {
            u64::from(RET_K) | u64::from(RET_TRACE) << 32
        } else {
            word
        }
    }

    fn make(programs: &[Vec<u64>], calls: &[SeccompData], shared: &Shared) -> ! {
        let ready = ptrace::traceme().and_then(|()| privilege::no_new_privileges());
        // SAFETY: takes a number.
        unsafe { libc::raise(libc::SIGSTOP) };
        let installed =
            ready.and_then(|()| programs.iter().try_for_each(|program| seccomp::install(program)));
        if installed.is_ok() {
            for (index, call) in calls.iter().enumerate() {
                shared.at.store(index as i64, Ordering::SeqCst);
                let [a, b, c, d, e, f] = call.args;
                let result: i64;
                // SAFETY: the kernel does not make the call: every filter denies it or asks a tracer that does not listen.
                unsafe {
                    asm!("syscall", inlateout("rax") u64::from(call.nr) => result, in("rdi") a, in("rsi") b, in("rdx") c,
                        in("r10") d, in("r8") e, in("r9") f, lateout("rcx") _, lateout("r11") _);
                }
                shared.results[index].store(result, Ordering::SeqCst);
            }
        }
        // SAFETY: ends this process, which can make no system call for it.
        unsafe { asm!("ud2", options(noreturn)) }
    }

    fn watch(child: Pid, programs: usize, shared: &Shared) -> Vec<Action> {
        assert_eq!(waitpid(child, None), Ok(WaitStatus::Stopped(child, Signal::SIGSTOP)));
        // To install a program is a call that those before it are asked about; the last one is the end of that.
        let mut installs = programs - 1;
        let options = |installs| match installs {
            0 => Options::PTRACE_O_EXITKILL,
            _ => Options::PTRACE_O_EXITKILL | Options::PTRACE_O_TRACESECCOMP,
        };
        ptrace::setoptions(child, options(installs)).unwrap();
        let mut trapped = vec![false; shared.results.len()];
        let mut finished = 0;
        loop {
            ptrace::cont(child, None).unwrap();
            match waitpid(child, None).unwrap() {
                WaitStatus::PtraceEvent(..) => {
                    installs -= 1;
                    ptrace::setoptions(child, options(installs)).unwrap();
                }
                WaitStatus::Stopped(_, Signal::SIGSYS) => {
                    trapped[shared.at.load(Ordering::SeqCst) as usize] = true;
                    finished += 1;
                }
                WaitStatus::Stopped(_, Signal::SIGILL) => break,
                other => panic!("{other:?} after {finished} traps"),
            }
        }
        assert_eq!(
            shared.at.load(Ordering::SeqCst) as usize + 1,
            shared.results.len(),
            "the filters were not installed"
        );
        let answer = |(result, trapped): (&AtomicI64, bool)| match result.load(Ordering::SeqCst) {
            _ if trapped => Action::Trap,
            result if result == -(Errno::ENOSYS as i64) => Action::Allow,
            result => Action::Errno(u16::try_from(-result).unwrap()),
        };
        shared.results.iter().zip(trapped).map(answer).collect()
    }
}
