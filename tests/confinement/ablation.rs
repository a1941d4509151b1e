//! The same probes with layers left out: what stops them when the filters do not. A probe that nothing else stops has the filters as
//! its one layer; what is listed here has two.

#![forbid(unsafe_code)]

use crate::attacks::{self, Surroundings};
use crate::cases::Cases;
use crate::common::User;
use crate::own::{self, Layer};

/// Layers left out, and what each probe must come to then: refused with this error number, or done.
struct Ablation {
    without: &'static [Layer],
    expected: &'static [(&'static str, Option<i32>)],
}

const NO_FILTERS: &[(&str, Option<i32>)] = &[
    // Landlock takes away what the empty root has left: itself.
    ("open", Some(libc::EACCES)),
    ("openat", Some(libc::EACCES)),
    ("openat2", Some(libc::EACCES)),
    // Capabilities, all of them gone.
    ("chroot", Some(libc::EPERM)),
    ("mount", Some(libc::EPERM)),
    ("fsopen", Some(libc::EPERM)),
    ("bpf", Some(libc::EPERM)),
    ("socket_packet", Some(libc::EPERM)),
    // RLIMIT_NPROC.
    ("fork", Some(libc::EAGAIN)),
    ("clone", Some(libc::EAGAIN)),
    ("clone3", Some(libc::EAGAIN)),
    // RLIMIT_NOFILE: there is room for one number, that of the standard input.
    ("pipe2", Some(libc::EMFILE)),
    ("socketpair", Some(libc::EMFILE)),
    ("fcntl_duplicate", Some(libc::EINVAL)),
    // The empty root.
    ("execve", Some(libc::ENOENT)),
    // The pid namespace: process 1 is alone.
    ("kill", Some(libc::ESRCH)),
    // It is traced already.
    ("ptrace", Some(libc::EPERM)),
    // Memory-deny-write-execute.
    ("mmap_rwx", Some(libc::EACCES)),
    ("mmap_exec", None),
    ("mprotect_text", Some(libc::EACCES)),
    ("mprotect_data", Some(libc::EACCES)),
    // The read-only description that the region was mapped from.
    ("mprotect_region", Some(libc::EACCES)),
    // mseal.
    ("mmap_over_region", Some(libc::EPERM)),
    ("munmap", Some(libc::EPERM)),
    ("mremap", Some(libc::EPERM)),
];

const ABLATIONS: [Ablation; 5] = [
    // The PD host reads its mappings to seal them; what it reads them from is not left open where it seals nothing.
    Ablation { without: &[Layer::Seal], expected: &[("read_other_descriptors", Some(libc::EBADF))] },
    Ablation { without: &[Layer::Seccomp], expected: NO_FILTERS },
    Ablation {
        without: &[Layer::Seccomp, Layer::Seal],
        expected: &[
            // The read-only description.
            ("mprotect_region", Some(libc::EACCES)),
            // Memory-deny-write-execute.
            ("mprotect_text", Some(libc::EACCES)),
            ("mprotect_data", Some(libc::EACCES)),
            ("mmap_rwx", Some(libc::EACCES)),
            ("munmap", None),
        ],
    },
    Ablation {
        without: &[Layer::Seccomp, Layer::Mdwe],
        expected: &[
            // mseal.
            ("mprotect_text", Some(libc::EPERM)),
            ("mprotect_data", Some(libc::EPERM)),
            ("mmap_rwx", None),
        ],
    },
    Ablation {
        without: &[Layer::Seccomp, Layer::Seal, Layer::Mdwe],
        expected: &[
            ("mprotect_region", Some(libc::EACCES)),
            ("mprotect_text", None),
            ("mprotect_data", None),
            ("mmap_rwx", None),
            ("munmap", None),
        ],
    },
];

/// Adds the cases.
pub fn cases(cases: &mut Cases, user: User) {
    let who = format!("{user:?}").to_lowercase();
    let surroundings = Surroundings::new(user);
    for ablation in &ABLATIONS {
        let without = own::without(ablation.without);
        let probes: Vec<String> = ablation.expected.iter().map(|(probe, _)| format!("h_{probe}")).collect();
        let mut seen = None;
        cases.case(&format!("{who}: hostile programs without {without}"), || {
            surroundings.world().system("ablated.system", &attacks::system(&probes));
            let outcome = own::run(surroundings.world(), &without, "ablated.system");
            outcome.expect(0);
            seen = Some(outcome);
            format!("{} probes", probes.len())
        });
        let Some(outcome) = seen else { continue };
        for (probe, expected) in ablation.expected {
            cases.case(&format!("{who}: without {without}: {probe}"), || {
                let became = attacks::what_became_of(&outcome, &format!("h_{probe}"));
                let wanted = expected.map_or("DONE".to_owned(), |errno| format!("refused {errno}"));
                assert_eq!(became, wanted);
                expected.map_or("done".to_owned(), |errno| nix::errno::Errno::from_raw(errno).to_string())
            });
        }
    }
}
