//! Probes with several layers left out at once, where more than two stand in the way. One layer at a time, and each beside the filters,
//! is in the table of SECURITY.md (table.rs).

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

const ABLATIONS: [Ablation; 4] = [
    Ablation {
        without: &[Layer::Seccomp, Layer::Landlock, Layer::Namespaces],
        expected: &[
            // Without these three a PD is a process of the host's user, as far as files and network go.
            ("open", None),
            ("open_file", None),
            ("connect_abstract", None),
            ("bind_tcp", None),
            ("hostname", None),
        ],
    },
    Ablation {
        without: &[Layer::Seccomp, Layer::Sealing],
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
        without: &[Layer::Seccomp, Layer::Sealing, Layer::Mdwe],
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
