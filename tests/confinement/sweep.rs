//! Every system call number, with and without the x32 bit, by a program in a PD itself, in each phase in which its code runs. The launcher
//! is this program; it sees each stop of the PD, writes down the kernel's word and lets it go on behind the call. What was not stopped can be
//! reached, and SECURITY.md says how many calls that are.

#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use mk_sandbox::launch::{self, Launch, end_all};
use mk_sandbox::pd::Shipped;
use mk_sandbox::policy::syscall_name;
use mk_sandbox::sys::trace::{self, Event};
use mk_sandbox::{commands::prepare, sys};

use crate::cases::Cases;
use crate::common::{User, World};
use crate::own;

/// Makes every call with each set of arguments; `int3` says that this was the last one.
const PROGRAM: &str = r#"
#include <microkit.h>

/* All bits, none, and what malloc asks of mmap. */
static const long arguments[][6] = {{-1, -1, -1, -1, -1, -1}, {0}, {0, 1 << 20, 3, 0x22, -1, 0}};

static void call(long number, const long *with)
{
    register long r10 __asm__("r10") = with[3];
    register long r8 __asm__("r8") = with[4];
    register long r9 __asm__("r9") = with[5];
    __asm__ volatile("syscall"
                     : "+a"(number)
                     : "D"(with[0]), "S"(with[1]), "d"(with[2]), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
}

static void sweep(char from)
{
    if (microkit_name[0] != from) {
        return;
    }
    for (int set = 0; set < SETS; set++) {
        for (long number = 0; number < NUMBERS; number++) {
            call(number, arguments[set]);
            call(number | 0x40000000, arguments[set]);
        }
    }
    __asm__ volatile("int3");
}

__attribute__((constructor)) static void construct(void) { sweep('c'); }
void init(void) { sweep('i'); microkit_notify(0); }
void notified(microkit_channel ch) { if (ch == 1) sweep('h'); }
"#;

/// The phases in which code of an image runs, and most calls that it may reach in each: named as the PDs that sweep in them.
const PHASES: [(&str, usize); 3] = [("constructor", 12), ("init", 12), ("handler", 6)];

const SYSTEM: &str = r#"<system>
  <protection_domain name="constructor"><program_image path="sweep.elf"/></protection_domain>
  <protection_domain name="init"><program_image path="sweep.elf"/></protection_domain>
  <protection_domain name="handler"><program_image path="sweep.elf"/></protection_domain>
  <channel><end pd="handler" id="0"/><end pd="handler" id="1"/></channel>
</system>"#;

/// Numbers tried: beyond the last of Linux 6.18, which is 469.
const NUMBERS: i64 = 512;
const X32: i64 = 0x4000_0000;

/// Sets of arguments in the program.
const SETS: usize = 3;

/// uretprobe and uprobe: the kernel exempts them from every filter, and without a probe they are an illegal instruction or an error. A kernel
/// without them traps them like any other number.
const EXEMPT: [i64; 2] = [335, 336];

/// Adds the cases.
pub fn cases(cases: &mut Cases, user: User) {
    let who = format!("{user:?}").to_lowercase();
    cases.case(&format!("{who}: attack with every system call number"), || {
        let world = World::new(user);
        world.program_with("sweep", PROGRAM, &[&format!("-DNUMBERS={NUMBERS}"), &format!("-DSETS={SETS}")]);
        world.system("sweep.system", SYSTEM);
        let outcome = own::run(&world, own::SWEEP, "sweep.system");
        outcome.expect(0);
        let reached: Vec<BTreeSet<i64>> =
            PHASES.iter().map(|(pd, _)| reached(&outcome.lines_of(pd))).collect();
        for ((phase, most), reached) in PHASES.iter().zip(&reached) {
            assert!(reached.len() <= *most, "{phase}: {reached:?}");
        }
        let counts: Vec<String> = PHASES
            .iter()
            .zip(&reached)
            .map(|((phase, _), reached)| format!("{} in {phase}", reached.len()))
            .collect();
        let names = reached[2].iter().map(|number| syscall_name(*number as u64).unwrap_or("?"));
        let names = names.collect::<Vec<_>>().join(", ");
        let said = format!("reachable calls: {} ({names})", counts.join(", "));
        let document = include_str!("../../SECURITY.md");
        // A kernel before 6.11 or 6.18 has fewer calls that it exempts.
        assert!(reached[2].len() < 6 || document.contains(&said), "SECURITY.md does not say: {said}");
        said
    });
}

/// The numbers that were not stopped with every set of arguments, from one line for each stop: the signal, and for SIGSYS the number.
fn reached(stops: &[&str]) -> BTreeSet<i64> {
    let mut stopped: BTreeMap<i64, usize> = BTreeMap::new();
    let (last, stops) = stops.split_last().unwrap();
    assert_eq!(*last, "SIGTRAP");
    for stop in stops.iter().filter(|stop| **stop != "SIGILL") {
        let number = stop.strip_prefix("SIGSYS ").unwrap_or_else(|| panic!("a stop by {stop}"));
        *stopped.entry(number.parse().unwrap()).or_default() += 1;
    }
    let every = (0..NUMBERS).flat_map(|number| [number, number | X32]);
    let reached: BTreeSet<i64> = every.filter(|number| stopped.get(number) != Some(&SETS)).collect();
    let wanted = BTreeSet::from([libc::SYS_read, libc::SYS_write, libc::SYS_brk, libc::SYS_mmap]);
    assert_eq!(reached.difference(&BTreeSet::from(EXEMPT)).copied().collect::<BTreeSet<_>>(), wanted);
    // All but malloc's shape of it.
    assert_eq!(stopped[&libc::SYS_mmap], SETS - 1);
    reached
}

/// The launcher's side: prints every stop of every PD, one PD after the other.
pub fn launcher(launch: &Launch) -> ExitCode {
    sys::descriptor::raise_limit().unwrap();
    let signals = prepare::take_signals().unwrap();
    let resources = launch::prepare(launch, None).unwrap();
    let running = launch::start(launch, &resources, &signals, &Shipped).unwrap();
    for pd in &running {
        let (pid, name) = (pd.child.pid, &launch.plan.pd(pd.index).name);
        loop {
            trace::resume(pid).unwrap();
            let event = trace::wait_for(pid).unwrap();
            let Some(Event::Signal(_, signal)) = event else { panic!("`{name}`: {event:?}") };
            let info = trace::signal_info(pid).unwrap();
            assert!(info.code > 0, "`{name}`: {info:?}");
            match info.syscall {
                Some((number, _)) => println!("{name} | {} {number}", trace::signal_name(signal)),
                None => println!("{name} | {}", trace::signal_name(signal)),
            }
            if signal == libc::SIGTRAP {
                break;
            }
        }
    }
    end_all(running.iter().map(|pd| &pd.child));
    ExitCode::SUCCESS
}
