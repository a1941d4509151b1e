//! Every system call number, with and without the x32 bit, by a program in a PD itself: once from a constructor, once from a handler. The
//! launcher is this program; it sees each stop of the PD, writes down the kernel's word and lets it go on behind the call.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use mk_sandbox::launch::{self, Launch, end_all};
use mk_sandbox::pd::Shipped;
use mk_sandbox::sys::trace::{self, Event};
use mk_sandbox::{commands::prepare, sys};

use crate::cases::Cases;
use crate::common::{User, World};
use crate::own;

/// Makes every call with arguments of its own; `int3` says that this was the last one.
const PROGRAM: &str = r#"
#include <microkit.h>

static long call(long number, long argument)
{
    long result;
    register long r10 __asm__("r10") = argument;
    register long r8 __asm__("r8") = argument;
    register long r9 __asm__("r9") = argument;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(argument), "S"(argument), "d"(argument), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

static void sweep(char from)
{
    if (microkit_name[0] != from) {
        return;
    }
    for (long number = 0; number < NUMBERS; number++) {
        call(number, -1);
        call(number | 0x40000000, -1);
    }
    __asm__ volatile("int3");
}

__attribute__((constructor)) static void construct(void) { sweep('c'); }
void init(void) { microkit_notify(0); }
void notified(microkit_channel ch) { if (ch == 1) sweep('h'); }
"#;

const SYSTEM: &str = r#"<system>
  <protection_domain name="constructor"><program_image path="sweep.elf"/></protection_domain>
  <protection_domain name="handler"><program_image path="sweep.elf"/></protection_domain>
  <channel><end pd="handler" id="0"/><end pd="handler" id="1"/></channel>
</system>"#;

/// Numbers tried: beyond the last of Linux 6.18, which is 469.
const NUMBERS: i64 = 512;
const X32: i64 = 0x4000_0000;

/// Adds the cases.
pub fn cases(cases: &mut Cases, user: User) {
    let who = format!("{user:?}").to_lowercase();
    cases.case(&format!("{who}: attack with every system call number"), || {
        let world = World::new(user);
        world.program_with("sweep", PROGRAM, &[&format!("-DNUMBERS={NUMBERS}")]);
        world.system("sweep.system", SYSTEM);
        let outcome = own::run(&world, own::SWEEP, "sweep.system");
        outcome.expect(0);
        for pd in ["constructor", "handler"] {
            judge(&outcome.lines_of(pd));
        }
        format!(
            "{} denied from a constructor and from a handler, the kernel's word for each",
            2 * NUMBERS - 5
        )
    });
}

/// One line for each stop: the signal, and for SIGSYS the number.
fn judge(stops: &[&str]) {
    // The kernel exempts uretprobe and uprobe from every filter; without a probe they are an illegal instruction or an error. A kernel
    // without them traps them like any other number.
    let exempt = |stop: &&&str| ["SIGILL", "SIGSYS 335", "SIGSYS 336"].contains(*stop);
    let seen: Vec<&str> = stops.iter().filter(|stop| !exempt(stop)).copied().collect();
    let expected: Vec<String> = (0..NUMBERS)
        .flat_map(|number| [number, number | X32])
        // Allowed, answered with an error number, or exempt.
        .filter(|number| ![libc::SYS_read, libc::SYS_write, libc::SYS_brk, 335, 336].contains(number))
        .map(|number| format!("SIGSYS {number}"))
        .chain(["SIGTRAP".into()])
        .collect();
    let first = seen.iter().zip(&expected).find(|(seen, wanted)| seen != wanted);
    assert_eq!(first, None, "the first that differs, seen and expected");
    assert_eq!(seen.len(), expected.len());
}

/// The launcher's side: prints every stop of every PD, one PD after the other.
pub fn launcher(launch: &Launch) -> ExitCode {
    sys::descriptor::raise_limit().unwrap();
    let signals = prepare::take_signals().unwrap();
    let resources = launch::prepare(launch).unwrap();
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
