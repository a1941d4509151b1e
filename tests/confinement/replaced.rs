//! An image that changes while it is being read: what was looked at is what is loaded, so a run works or is refused.

#![forbid(unsafe_code)]

use std::fs;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::cases::Cases;
use crate::common::{User, World};

const PROGRAM: &str = r#"
#include <microkit.h>
void init(void) { microkit_dbg_puts("as it was looked at\n"); }
void notified(microkit_channel ch) { (void)ch; }
"#;

const SYSTEM: &str =
    r#"<system><protection_domain name="pd"><program_image path="pd.elf"/></protection_domain></system>"#;

/// Runs made while it changes.
const RUNS: usize = 24;

/// Adds the case.
pub fn cases(cases: &mut Cases, user: User) {
    let who = format!("{user:?}").to_lowercase();
    cases.case(&format!("{who}: attack by replacing an image while it is read"), || replaced(user));
}

fn replaced(user: User) -> String {
    let world = World::new(user);
    let path = world.program("pd", PROGRAM);
    world.system("x.system", SYSTEM);
    let good = fs::read(&path).unwrap();
    // Behind the Elf64_Ehdr of 64 bytes, p_flags of each Elf64_Phdr, 56 bytes, at 4: all segments may be written and executed.
    let mut bad = good.clone();
    for header in 0..usize::from(u16::from_le_bytes(good[56..58].try_into().unwrap())) {
        bad[64 + 56 * header + 4] = 7;
    }
    let file = fs::File::options().write(true).open(&path).unwrap();
    let is_over = AtomicBool::new(false);
    let (mut worked, mut refused) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                file.write_all_at(&bad[64..1024], 64).unwrap();
                file.write_all_at(&good[64..1024], 64).unwrap();
            }
        });
        let outcomes: Vec<_> = (0..RUNS).map(|_| world.run(&["run", "--until-idle", "x.system"])).collect();
        is_over.store(true, Ordering::Relaxed);
        for outcome in outcomes {
            match outcome.code {
                Some(0) => {
                    outcome.printed("pd", &["as it was looked at"]);
                    worked += 1;
                }
                Some(3) => refused += 1,
                _ => panic!("{outcome}"),
            }
        }
    });
    assert_eq!(worked + refused, RUNS);
    format!("{RUNS} runs worked or were refused, none was deceived")
}
