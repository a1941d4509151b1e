//! What /proc does not tell about a PD, the kernel tells the PD. The filters are left out, everything else is as ever, and the launcher, which
//! is this program, makes a PD ask before an instruction of its image runs: it sets the registers of the PD that stands at the barrier.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use mk_sandbox::commands::prepare;
use mk_sandbox::launch::{self, Launch, end_all};
use mk_sandbox::pd::Shipped;
use mk_sandbox::sys::trace::{self, Event, Registers};
use mk_sandbox::sys::{self, remote};
use nix::unistd::Pid;

use crate::cases::Cases;
use crate::common::{User, World};
use crate::own;

const PROGRAM: &str =
    "#include <microkit.h>\nvoid init(void) { }\nvoid notified(microkit_channel ch) { (void)ch; }\n";

const SYSTEM: &str = r#"<system>
  <protection_domain name="asked"><program_image path="asked.elf"/></protection_domain>
</system>"#;

/// linux/prctl.h, linux/securebits.h
const PR_GET_MDWE: u64 = 66;
const PR_MDWE_REFUSE_EXEC_GAIN: i64 = 1;
/// Every securebit and its lock, but for keeping capabilities across a change of user, which is off and locked.
const SECUREBITS: i64 = 0b1110_1111;

const EACCES: i64 = -(libc::EACCES as i64);
const EPERM: i64 = -(libc::EPERM as i64);
const EAGAIN: i64 = -(libc::EAGAIN as i64);

/// What is asked, and the kernel's answer. `TEXT` as an argument stands for the path before it.
const QUESTIONS: &[(&str, &str, i64, [u64; 5], i64)] = &[
    ("securebits", "", libc::SYS_prctl, [libc::PR_GET_SECUREBITS as u64, 0, 0, 0, 0], SECUREBITS),
    ("securebits are locked", "", libc::SYS_prctl, [libc::PR_SET_SECUREBITS as u64, 0, 0, 0, 0], EPERM),
    ("dumpable", "", libc::SYS_prctl, [libc::PR_GET_DUMPABLE as u64, 0, 0, 0, 0], 0),
    ("no_new_privs", "", libc::SYS_prctl, [libc::PR_GET_NO_NEW_PRIVS as u64, 0, 0, 0, 0], 1),
    ("memory-deny-write-execute", "", libc::SYS_prctl, [PR_GET_MDWE, 0, 0, 0, 0], PR_MDWE_REFUSE_EXEC_GAIN),
    ("memory-deny-write-execute stays", "", libc::SYS_prctl, [PR_GET_MDWE - 1, 0, 0, 0, 0], EPERM),
    ("the parent's death: answered", "", libc::SYS_prctl, [libc::PR_GET_PDEATHSIG as u64, TEXT, 0, 0, 0], 0),
    ("process number", "", libc::SYS_getpid, [0; 5], 1),
    ("parent's number: it has none", "", libc::SYS_getppid, [0; 5], 0),
    ("session: led from outside its namespace", "", libc::SYS_getsid, [0; 5], 0),
    ("process group", "", libc::SYS_getpgid, [0; 5], 1),
    ("a capability cannot come back", "", libc::SYS_prctl, [libc::PR_CAP_AMBIENT as u64, 2, 0, 0, 0], EPERM),
    ("Landlock: the root", "/", libc::SYS_open, [TEXT, 0, 0, 0, 0], EACCES),
    ("Landlock: its own image", "/asked.elf", libc::SYS_open, [TEXT, 0, 0, 0, 0], EACCES),
    ("Landlock: to execute its own image", "/asked.elf", libc::SYS_execve, [TEXT, 0, 0, 0, 0], EACCES),
    ("a child process", "", libc::SYS_clone, [libc::SIGCHLD as u64, 0, 0, 0, 0], EAGAIN),
];

/// An address in the PD that holds the question's path, or zeros.
const TEXT: u64 = u64::MAX - 4095;

/// A launcher that asks.
pub const ASK: &str = "ask";

/// Adds the cases.
pub fn cases(cases: &mut Cases, user: User) {
    let who = format!("{user:?}").to_lowercase();
    let world = World::new(user);
    world.program("asked", PROGRAM);
    world.system("asked.system", SYSTEM);
    let outcome = own::run(&world, ASK, "asked.system");
    for (what, _, _, _, expected) in QUESTIONS.iter().chain([&PARENT_DEATH]) {
        cases.case(&format!("{who}: the kernel's answer: {what}"), || {
            let start = format!("{what} = ");
            let lines = outcome.lines_of("asked");
            let answer = lines.iter().find_map(|line| line.strip_prefix(start.as_str()));
            let answer: i64 = answer.unwrap_or_else(|| panic!("not asked: {outcome}")).parse().unwrap();
            assert_eq!(answer, *expected);
            answer.to_string()
        });
    }
}

/// What the third question but one of prctl has stored.
const PARENT_DEATH: (&str, &str, i64, [u64; 5], i64) =
    ("the parent's death: the signal", "", 0, [0; 5], libc::SIGKILL as i64);

/// The launcher's side.
pub fn launcher(launch: &Launch) -> ExitCode {
    sys::descriptor::raise_limit().unwrap();
    let signals = prepare::take_signals().unwrap();
    let resources = launch::prepare(launch, None).unwrap();
    let running = launch::start(launch, &resources, &signals, &Shipped).unwrap();
    let pid = running[0].child.pid;
    let stand = trace::registers(pid).unwrap();
    // Far below what the PD has on its stack.
    let place = (stand.rsp - 2048) & !7;
    for (what, text, number, arguments, _) in QUESTIONS {
        let mut bytes = [0; 64];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        let words: Vec<u64> =
            bytes.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().unwrap())).collect();
        remote::write(pid, place, &words).unwrap();
        let arguments = arguments.map(|argument| if argument == TEXT { place } else { argument });
        println!("asked | {what} = {}", ask(pid, &stand, *number, arguments));
        if arguments[0] == libc::PR_GET_PDEATHSIG as u64 && *number == libc::SYS_prctl {
            let stored = remote::read(pid, place, 1).unwrap()[0] & 0xffff_ffff;
            println!("asked | {} = {stored}", PARENT_DEATH.0);
        }
    }
    end_all(running.iter().map(|pd| &pd.child));
    ExitCode::SUCCESS
}

/// Makes the `syscall` instruction that the PD stands behind another call.
fn ask(pid: Pid, stand: &Registers, number: i64, arguments: [u64; 5]) -> i64 {
    let mut registers = *stand;
    registers.rip -= 2;
    registers.rax = number as u64;
    [registers.rdi, registers.rsi, registers.rdx, registers.r10, registers.r8] = arguments;
    trace::set_registers(pid, registers).unwrap();
    loop {
        trace::step(pid).unwrap();
        let event = trace::wait_for(pid).unwrap();
        let Some(Event::Signal(_, libc::SIGTRAP)) = event else { panic!("{event:?}") };
        let now = trace::registers(pid).unwrap();
        if now.rip == stand.rip {
            return now.rax as i64;
        }
    }
}
