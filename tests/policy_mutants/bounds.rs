//! What nobody may do under each filter, whatever the rules say, and what C libraries other than this host's do.

#![forbid(unsafe_code)]

use std::sync::LazyLock;

use mk_sandbox::policy::{Program, syscall_number};

use crate::judge::{Call, Judge, Verdict};

/// Numbers tried: beyond the last of Linux 6.18 (469).
const NUMBERS: u32 = 512;
/// uretprobe and uprobe, which the kernel exempts from every filter.
const EXEMPT: [u32; 2] = [335, 336];

const ALL: u64 = u64::MAX;
/// A register of which the kernel reads 32 bits.
const INT: u64 = u32::MAX as u64;

const AT_FDCWD: u64 = -100i64 as u64;
const READ_ONLY: u64 = 0o2000000;
const EMPTY_PATH: u64 = 0x1000;

/// MAP_PRIVATE, with flags that change only where and from what.
const PRIVATE: u64 = 2;
const FIXED: u64 = 0x10;
const ANONYMOUS: u64 = 0x20;
const DENYWRITE: u64 = 0x800;

/// A call with arguments that it is made with, and which of them are bound: index, and the bits that the kernel reads.
struct Bound {
    call: &'static str,
    made_with: &'static [[u64; 6]],
    bound: &'static [(usize, u64)],
}

/// While an image is loaded: calls that touch nothing but the process's own memory and descriptors are free, the others bound.
const LOADING: &[Bound] = &[
    Bound { call: "read", made_with: &[[3, 0x1000, 832, 0, 0, 0]], bound: &[] },
    Bound { call: "pread64", made_with: &[[3, 0x1000, 832, 64, 0, 0]], bound: &[] },
    Bound { call: "fstat", made_with: &[[3, 0x1000, 0, 0, 0, 0]], bound: &[] },
    Bound { call: "munmap", made_with: &[[0x1000, 0x1000, 0, 0, 0, 0]], bound: &[] },
    Bound { call: "close", made_with: &[[3, 0, 0, 0, 0, 0]], bound: &[] },
    Bound { call: "brk", made_with: &[[0; 6]], bound: &[] },
    Bound { call: "write", made_with: &[[5, 0x1000, 8, 0, 0, 0]], bound: &[] },
    Bound { call: "exit_group", made_with: &[[70, 0, 0, 0, 0, 0]], bound: &[] },
    // One file, by its path, to read: nothing is created, nothing written.
    Bound {
        call: "openat",
        made_with: &[[AT_FDCWD, 0x1000, READ_ONLY, 0, 0, 0], [AT_FDCWD & INT, 0x1000, READ_ONLY, 0, 0, 0]],
        bound: &[(0, INT), (2, INT)],
    },
    // By descriptor: no path leads anywhere.
    Bound { call: "newfstatat", made_with: &[[3, 0x1000, 0x2000, EMPTY_PATH, 0, 0]], bound: &[(3, INT)] },
    // Nothing shared, nothing writable and executable, no code that comes from no file.
    Bound {
        call: "mmap",
        made_with: &[
            [0, 0x1000, 0, PRIVATE | ANONYMOUS, ALL, 0],
            [0, 0x1000, 1, PRIVATE | DENYWRITE, 3, 0],
            [0x1000, 0x1000, 1, PRIVATE | FIXED | DENYWRITE, 3, 0],
            [0x1000, 0x1000, 3, PRIVATE | FIXED | DENYWRITE, 3, 0],
            [0x1000, 0x1000, 3, PRIVATE | FIXED | ANONYMOUS, ALL, 0],
            [0x1000, 0x1000, 5, PRIVATE | FIXED | DENYWRITE, 3, 0],
        ],
        bound: &[(2, ALL), (3, ALL)],
    },
    // Nothing becomes writable or executable.
    Bound {
        call: "mprotect",
        made_with: &[[0x1000, 0x1000, 0, 0, 0, 0], [0x1000, 0x1000, 1, 0, 0, 0]],
        bound: &[(2, ALL)],
    },
    Bound { call: "prlimit64", made_with: &[[0, 7, 0x1000, 0, 0, 0]], bound: &[(0, INT)] },
    Bound { call: "landlock_restrict_self", made_with: &[[3, 0, 0, 0, 0, 0]], bound: &[(1, INT)] },
    Bound { call: "mseal", made_with: &[[0x1000, 0x1000, 0, 0, 0, 0]], bound: &[(2, ALL)] },
    // A filter more, without a listener and without a log.
    Bound { call: "seccomp", made_with: &[[1, 0, 0x1000, 0, 0, 0]], bound: &[(0, INT), (1, INT)] },
];

/// In a running PD.
const RUNNING: &[Bound] = &[
    Bound { call: "read", made_with: &[[3, 0x1000, 8, 0, 0, 0]], bound: &[] },
    Bound { call: "write", made_with: &[[1, 0x1000, 8, 0, 0, 0]], bound: &[] },
];

/// As malloc asks: answered and not made. Each argument but the length is bound.
const MALLOC: [u64; 6] = [0, 1 << 20, 3, 0x22, ALL, 0];
const MALLOC_BOUND: [(usize, u64); 5] = [(0, ALL), (2, ALL), (3, ALL), (4, INT), (5, ALL)];

fn number(call: &str) -> u32 {
    syscall_number(call).and_then(|number| u32::try_from(number).ok()).expect("a known call")
}

/// What may not pass under a filter: worked out once.
fn forbidden(filter: &str) -> &'static [Call] {
    static LOADING_FORBIDS: LazyLock<Vec<Call>> = LazyLock::new(|| all_beside(LOADING, Vec::new()));
    static RUNNING_FORBIDS: LazyLock<Vec<Call>> =
        LazyLock::new(|| all_beside(RUNNING, beside("mmap", &[MALLOC], &MALLOC_BOUND)));
    if filter == "loading" { &LOADING_FORBIDS } else { &RUNNING_FORBIDS }
}

/// Every number that is not listed, and what is listed with other arguments.
fn all_beside(bounds: &[Bound], mut all: Vec<Call>) -> Vec<Call> {
    let listed: Vec<u32> = bounds.iter().map(|bound| number(bound.call)).collect();
    for nr in (0..NUMBERS).filter(|nr| !EXEMPT.contains(nr) && !listed.contains(nr)) {
        all.extend([[0; 6], [ALL; 6], [3, 0x1000, 8, 0, 0, 0]].map(|arguments| (nr, arguments)));
    }
    all.extend(bounds.iter().flat_map(|bound| beside(bound.call, bound.made_with, bound.bound)));
    all
}

/// The first call that passes and may not.
pub fn breach(judge: &Judge, filter: &str, programs: &[Program]) -> Option<String> {
    let forbidden = forbidden(filter);
    let brk = number("brk");
    let verdicts = judge.verdicts(programs, forbidden);
    let passed = |(call, verdict): &(&Call, Verdict)| match verdict {
        Verdict::Allowed | Verdict::Killed => true,
        // `brk` is answered whatever it asks for.
        Verdict::Errno(_) => filter == "loading" || call.0 != brk,
        Verdict::Trapped | Verdict::NotInstalled => false,
    };
    let first = forbidden.iter().zip(verdicts).find(passed);
    first.map(|((nr, arguments), verdict)| format!("call {nr} with {arguments:x?} is {verdict:?}"))
}

/// A call with each bound argument a little other than it is made with: one more, one less, each bit the other way.
fn beside(call: &str, made_with: &[[u64; 6]], bound: &[(usize, u64)]) -> Vec<Call> {
    let bits_read = |arguments: &[u64; 6]| -> Vec<u64> {
        bound.iter().map(|(index, bits)| arguments[*index] & bits).collect()
    };
    let permitted: Vec<Vec<u64>> = made_with.iter().map(bits_read).collect();
    let mut all = Vec::new();
    for arguments in made_with {
        let nr = number(call);
        for (index, _) in bound {
            let old = arguments[*index];
            let flipped = (0..64).map(|bit| old ^ (1 << bit));
            for other in flipped.chain([old.wrapping_add(1), old.wrapping_sub(1)]) {
                let mut changed = *arguments;
                changed[*index] = other;
                if !permitted.contains(&bits_read(&changed)) && !harmless(call, &changed) {
                    all.push((nr, changed));
                }
            }
        }
    }
    all
}

/// While an image is loaded: mappings that no C library here makes, and that give nothing which those that it makes do not give.
fn harmless(call: &str, arguments: &[u64; 6]) -> bool {
    let [_, _, protection, flags, _, _] = *arguments;
    let private = flags & 0xf == PRIVATE && flags & !(PRIVATE | FIXED | ANONYMOUS | DENYWRITE) == 0;
    call == "mmap"
        && arguments[1] == 0x1000
        && private
        && (protection == 3 || [1, 5].contains(&protection) && flags & ANONYMOUS == 0)
}

/// What the dynamic linkers of glibc 2.31 to 2.41 do beyond what this host's may do, by the version that does it.
const OTHER_C_LIBRARIES: &[(&str, &str, [u64; 6])] = &[
    ("glibc 2.31 and 2.41 look at the opened image", "fstat", [3, 0x1000, 0, 0, 0, 0]),
    ("glibc 2.36 looks at the opened image", "newfstatat", [3, 0x1000, 0x2000, EMPTY_PATH, 0, 0]),
    ("glibc from 2.35 reserves an aligned span", "mmap", [0, 0x200_0000, 0, PRIVATE | ANONYMOUS, ALL, 0]),
];

/// The first such call that does not pass.
pub fn refuses_another_c_library(judge: &Judge, filter: &str, programs: &[Program]) -> Option<String> {
    if filter != "loading" {
        return None;
    }
    // A kernel reads 32 bits of an `int`, and callers leave anything in the others.
    let full = |arguments: &[u64; 6], index: usize| {
        let mut arguments = *arguments;
        arguments[index] |= 0xdead_beef << 32;
        arguments
    };
    let mut calls: Vec<(String, Call)> = OTHER_C_LIBRARIES
        .iter()
        .map(|(who, call, arguments)| ((*who).to_owned(), (number(call), *arguments)))
        .collect();
    for bound in LOADING {
        for (index, _) in bound.bound.iter().filter(|(_, bits)| *bits == INT) {
            let who = format!(
                "another compiler leaves the upper half of argument {index} of {} as it is",
                bound.call
            );
            calls.push((who, (number(bound.call), full(&bound.made_with[0], *index))));
        }
    }
    let made: Vec<Call> = calls.iter().map(|(_, call)| *call).collect();
    let verdicts = judge.verdicts(programs, &made);
    let denied = calls.iter().zip(verdicts).find(|(_, verdict)| *verdict != Verdict::Allowed);
    denied.map(|((who, _), verdict)| format!("{who}: {verdict:?}"))
}
