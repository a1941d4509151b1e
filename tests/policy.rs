//! What the filters say to every call, judged by running the compiled programs: every number, the x32 numbers, other
//! architectures, and every argument of every rule changed.

#![forbid(unsafe_code)]

#[path = "policy_mutants/numbers.rs"]
mod numbers;

use std::collections::BTreeSet;
use std::sync::LazyLock;

use mk_sandbox::policy::{
    Action, Answer, Filters, PlanValues, Policy, PolicyError, Program, SeccompData, evaluate, evaluate_all,
    syscall_name, syscall_number,
};

use numbers::value;

const ENOMEM: u16 = 12;
const X32_BIT: u32 = 0x4000_0000;
/// `AUDIT_ARCH_I386`, `AUDIT_ARCH_AARCH64`, and no architecture at all.
const OTHER_ARCHITECTURES: [u32; 3] = [0x4000_0003, 0xc000_00b7, 0];

fn filters() -> &'static Filters {
    static FILTERS: LazyLock<Filters> =
        LazyLock::new(|| Filters::compile("x86_64", &PlanValues::new()).expect("the policy files compile"));
    &FILTERS
}

/// As the kernel answers a running PD: all programs together.
fn running(nr: u32, args: [u64; 6]) -> Action {
    let filters = filters();
    let all = filters.loading.iter().chain(&filters.running);
    evaluate_all(all, &SeccompData::new(nr, args)).expect("the programs are well formed")
}

fn loading(nr: u32, args: [u64; 6]) -> Action {
    evaluate_all(&filters().loading, &SeccompData::new(nr, args)).expect("the programs are well formed")
}

fn nr(name: &str) -> u32 {
    u32::try_from(syscall_number(name).expect("a known call")).expect("small")
}

/// malloc's fallback when brk has failed.
const HEAP_MMAP: [u64; 6] = [0, 1 << 20, 3, 0x22, u64::MAX, 0];

#[test]
fn a_running_pd_reaches_read_and_write_and_nothing_else() {
    for number in 0..=511 {
        for args in [[0; 6], [u64::MAX; 6], [3, 0x1000, 8, 0, 0, 0], HEAP_MMAP] {
            let expected = match number {
                0 | 1 => Action::Allow,
                12 => Action::Errno(0),
                9 if args == HEAP_MMAP => Action::Errno(ENOMEM),
                _ => Action::Trap,
            };
            assert_eq!(running(number, args), expected, "{number} {args:?}");
            assert_eq!(running(number | X32_BIT, args), Action::Trap, "x32 {number}");
        }
    }
}

#[test]
fn numbers_beyond_the_table_trap() {
    for number in [512, 547, 1023, 0x7fff_ffff, 0x8000_0000, u32::MAX] {
        assert_eq!(running(number, [0; 6]), Action::Trap, "{number}");
        assert_eq!(loading(number, [0; 6]), Action::Trap, "{number}");
    }
}

#[test]
fn calls_made_the_32_bit_way_kill_the_process() {
    let filters = filters();
    for arch in OTHER_ARCHITECTURES {
        for number in 0..=511 {
            let data = SeccompData { arch, ..SeccompData::new(number, [0; 6]) };
            for program in filters.loading.iter().chain(&filters.running) {
                assert_eq!(evaluate(program, &data), Ok(Action::KillProcess), "{arch:x} {number}");
            }
        }
    }
}

#[test]
fn malloc_beyond_the_heap_gets_null_and_no_other_shape_of_mmap_does() {
    assert_eq!(running(nr("mmap"), HEAP_MMAP), Action::Errno(ENOMEM));
    let mut int_sized_fd = HEAP_MMAP;
    int_sized_fd[4] = u64::from(u32::MAX);
    assert_eq!(running(nr("mmap"), int_sized_fd), Action::Errno(ENOMEM));
    let mut any_length = HEAP_MMAP;
    any_length[1] = u64::MAX;
    assert_eq!(running(nr("mmap"), any_length), Action::Errno(ENOMEM));
    for (index, bits) in [(0, 64), (2, 64), (3, 64), (4, 32), (5, 64)] {
        for bit in 0..bits {
            let mut args = HEAP_MMAP;
            args[index] ^= 1 << bit;
            assert_eq!(running(nr("mmap"), args), Action::Trap, "argument {index}, bit {bit}");
        }
    }
}

#[test]
fn loading_allows_exactly_the_listed_calls() {
    let listed: BTreeSet<_> = [
        "openat",
        "read",
        "pread64",
        "fstat",
        "newfstatat",
        "mmap",
        "mprotect",
        "munmap",
        "close",
        "brk",
        "prlimit64",
        "landlock_restrict_self",
        "mseal",
        "seccomp",
        "write",
        "exit_group",
    ]
    .into();
    let candidates = candidates(&Policy::loading().expect("it parses"));
    for number in 0..=511u32 {
        let name = syscall_name(u64::from(number));
        let reachable = candidates.iter().any(|args| loading(number, *args) == Action::Allow);
        assert_eq!(reachable, name.is_some_and(|name| listed.contains(name)), "{number} {name:?}");
        assert_eq!(loading(number | X32_BIT, [0; 6]), Action::Trap, "x32 {number}");
    }
}

#[test]
fn the_dynamic_linker_gets_no_writable_code_and_no_shared_memory() {
    const PRIVATE: u64 = 2;
    const FIXED: u64 = 0x10;
    const ANONYMOUS: u64 = 0x20;
    let mmap = |prot, flags| loading(nr("mmap"), [0, 0x1000, prot, flags, 3, 0]);
    assert_eq!(mmap(0, PRIVATE | ANONYMOUS), Action::Allow, "a reservation");
    assert_eq!(mmap(0, PRIVATE | FIXED), Action::Trap, "a reservation in a given place");
    assert_eq!(mmap(1, PRIVATE | ANONYMOUS), Action::Trap, "memory that stays zero");
    for prot in [1, 3, 5] {
        assert_eq!(mmap(prot, PRIVATE | FIXED), Action::Allow, "prot {prot}");
        for shared in [1, 3] {
            assert_eq!(mmap(prot, shared), Action::Trap, "prot {prot}, flags {shared}");
        }
    }
    for prot in (2..64).filter(|prot| ![3, 5].contains(prot)) {
        assert_eq!(mmap(prot, PRIVATE), Action::Trap, "prot {prot}");
    }
    assert_eq!(mmap(5, PRIVATE | ANONYMOUS), Action::Trap, "anonymous code");
    for prot in (0..64).filter(|prot| ![0, 1].contains(prot)) {
        assert_eq!(loading(nr("mprotect"), [0x1000, 0x1000, prot, 0, 0, 0]), Action::Trap);
    }
}

#[test]
fn the_dynamic_linker_opens_nothing_for_writing() {
    const AT_FDCWD: u64 = -100i64 as u64;
    let openat = |dirfd, flags| loading(nr("openat"), [dirfd, 0x1000, flags, 0, 0, 0]);
    assert_eq!(openat(AT_FDCWD, 0o2000000), Action::Allow);
    for bit in 0..32 {
        assert_eq!(openat(AT_FDCWD, 0o2000000 ^ (1 << bit)), Action::Trap, "flag bit {bit}");
    }
    assert_eq!(openat(3, 0o2000000), Action::Trap, "relative to a descriptor");
}

/// The kernel's cache of allowed calls serves a call only if every installed program allows it whatever its arguments.
#[test]
fn the_hot_calls_are_allowed_whatever_their_arguments() {
    let filters = filters();
    for program in filters.loading.iter().chain(&filters.running) {
        for name in ["read", "write"] {
            assert!(!loads_an_argument(program, nr(name)), "{}: {name}", program.name);
        }
    }
    assert!(loads_an_argument(&filters.loading[0], nr("mmap")), "or the check sees nothing");
}

/// Follows a program as the kernel does when it fills its cache: only number and architecture are known.
fn loads_an_argument(program: &Program, number: u32) -> bool {
    let data = SeccompData::new(number, [0; 6]);
    let mut cut = program.clone();
    for word in &mut cut.words {
        let (code, k) = (*word as u16, (*word >> 32) as u32);
        if code == 0x20 && k >= 8 {
            // A load out of bounds, which the evaluator reports if it gets there.
            *word = 0x20 | 0xffff_fff0 << 32;
        }
    }
    evaluate(&cut, &data).is_err()
}

#[test]
fn whatever_runs_is_also_passed_by_the_loading_filter() {
    for rule in Policy::running().expect("it parses").rules {
        let args = if rule.syscall == "mmap" { HEAP_MMAP } else { [0; 6] };
        assert_eq!(loading(nr(&rule.syscall), args), Action::Allow, "{}", rule.syscall);
    }
}

/// Every rule's condition, read straight from the policy, against the compiled program: argument values at, just beside
/// and one bit away from every number that a rule mentions.
#[test]
fn the_programs_say_what_the_rules_say() {
    for policy in [Policy::loading(), Policy::running()] {
        let policy = policy.expect("it parses");
        let program = policy.compile("x86_64", &PlanValues::new()).expect("it compiles");
        for rule in &policy.rules {
            for args in candidates(&policy) {
                let data = SeccompData::new(nr(&rule.syscall), args);
                let expected = policy
                    .rules
                    .iter()
                    .filter(|other| other.syscall == rule.syscall && holds(other, args))
                    .map(|other| match &other.answer {
                        Answer::Allow => Action::Allow,
                        Answer::Errno(errno) => Action::Errno(value(errno) as u16),
                    })
                    .min()
                    .unwrap_or(Action::Trap);
                assert_eq!(evaluate(&program, &data), Ok(expected), "{rule} with {args:x?}");
            }
        }
    }
}

#[test]
fn no_rule_is_redundant() {
    for policy in [Policy::loading(), Policy::running()] {
        let policy = policy.expect("it parses");
        let whole = answers(&policy);
        for index in 0..policy.rules.len() {
            let mut without = policy.clone();
            let rule = without.rules.remove(index);
            assert_ne!(answers(&without), whole, "{}: `{rule}` changes nothing", policy.filter);
            for arg in 0..rule.args.len() {
                let mut loose = policy.clone();
                loose.rules[index].args.remove(arg);
                assert_ne!(answers(&loose), whole, "{}: `{}` changes nothing", rule, rule.args[arg]);
            }
        }
    }
}

/// What a policy says to every call it names, with every candidate's arguments.
fn answers(policy: &Policy) -> Vec<Action> {
    let program = policy.compile("x86_64", &PlanValues::new()).expect("it compiles");
    let whole = if policy.filter == "loading" { Policy::loading() } else { Policy::running() };
    let whole = whole.expect("it parses");
    let numbers: BTreeSet<u32> = whole.rules.iter().map(|rule| nr(&rule.syscall)).collect();
    let candidates = candidates(&whole);
    let mut answers = Vec::new();
    for number in numbers {
        for args in &candidates {
            let data = SeccompData::new(number, *args);
            answers.push(evaluate(&program, &data).expect("the programs are well formed"));
        }
    }
    answers
}

/// Arguments that meet each rule of the policy, and the same with one argument changed a little.
fn candidates(policy: &Policy) -> BTreeSet<[u64; 6]> {
    let mut all = BTreeSet::from([[0; 6], [u64::MAX; 6]]);
    for rule in &policy.rules {
        let mut args = [0; 6];
        for arg in &rule.args {
            args[usize::from(arg.index)] = value(&arg.value);
        }
        all.insert(args);
        for index in 0..6 {
            let old = args[index];
            let beside = [old.wrapping_add(1), old.wrapping_sub(1), !old, 0];
            let flipped = (0..64).map(|bit| old ^ (1 << bit));
            for changed in beside.into_iter().chain(flipped) {
                args[index] = changed;
                all.insert(args);
            }
            args[index] = old;
        }
    }
    all
}

/// The rule's conditions, computed without the compiler's help.
fn holds(rule: &mk_sandbox::policy::Rule, args: [u64; 6]) -> bool {
    use mk_sandbox::policy::{Op, Width};
    rule.args.iter().all(|arg| {
        let seen = |number: u64| match arg.width {
            Width::Bits32 => number & 0xffff_ffff,
            Width::Bits64 => number,
        };
        let (actual, wanted) = (seen(args[usize::from(arg.index)]), seen(value(&arg.value)));
        match arg.op {
            Op::Eq => actual == wanted,
            Op::MaskedEq => arg.mask.as_ref().is_some_and(|mask| actual & value(mask) == wanted),
            Op::Subset => actual | wanted == wanted,
        }
    })
}

#[test]
fn other_architectures_have_no_filter() {
    for arch in ["aarch64", "x86", "", "X86_64"] {
        assert!(matches!(
            Filters::compile(arch, &PlanValues::new()),
            Err(PolicyError::Architecture(named)) if named == arch
        ));
    }
}

#[test]
fn nothing_can_be_installed_behind_the_running_filter() {
    let seccomp = [1, 0, 0x1000, 0, 0, 0];
    assert_eq!(loading(nr("seccomp"), seccomp), Action::Allow);
    assert_eq!(running(nr("seccomp"), seccomp), Action::Trap);
    assert_eq!(filters().running.last().expect("there is a program").name, "running");
}

#[test]
fn programs_survive_the_way_to_the_pd_host() {
    let filters = filters();
    let text = serde_json::to_string(&filters).expect("it serialises");
    assert_eq!(serde_json::from_str::<Filters>(&text).expect("it parses"), *filters);
}
