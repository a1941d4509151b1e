//! Hostile programs: every probe of probes.h once from a constructor and once from a handler, each in a PD of its own, judged by what
//! the kernel made the launcher report; and unsandboxed, where it has to succeed.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use mk_sandbox::commands::embedded::LIBMICROKIT;
use object::{Object, ObjectSymbol};

use crate::cases::Cases;
use crate::common::{Outcome, User, World};

const SOURCE: &str = include_str!("attacks.c");
const PROBES: &str = include_str!("probes.h");

/// What the source includes. The repository may be closed to the user who compiles it.
const HEADERS: [(&str, &str); 4] = [
    ("probes.h", PROBES),
    ("internal.h", include_str!("../../libmicrokit/internal.h")),
    ("abi.h", include_str!("../../libmicrokit/abi.h")),
    ("wait.h", include_str!("../../libmicrokit/wait.h")),
];

/// What must come of a probe in a PD.
#[derive(Clone, Copy)]
enum Expected {
    /// A fault that names this system call.
    Denied(&'static str),
    /// A fault whose report begins like this, or has this in it after `…`.
    Fault(&'static str),
    /// The kernel, or the filter in its place, answers with this error number.
    Refused(i32),
}

use Expected::{Denied, Fault, Refused};

/// Probes whose control this kernel or this user may not be able to run: interfaces that are built in or allowed on some hosts only, or
/// to root only. Their control is reported, not demanded.
pub const AT_THE_HOSTS_DISCRETION: [&str; 41] = [
    "add_key",
    "bpf",
    "chroot",
    "compatibility_mode",
    "fsopen",
    "init_module",
    "int80_getpid",
    "int80_openat",
    "io_uring_setup",
    "ioctl_terminal",
    "ioctl_terminal_high_bits",
    "ioperm",
    "iopl",
    "kexec_load",
    "keyctl",
    "landlock_create_ruleset",
    "membarrier",
    "mknod_device",
    "mmap_zero_page",
    "modify_ldt",
    "mount",
    "mseal",
    "open_by_handle_at",
    "open_kernel_log",
    "open_tree",
    "perf_event_open",
    "pkey_mprotect",
    "prctl_set_mm",
    "reboot",
    "remap_file_pages",
    "seccomp_new_listener",
    "sethostname",
    "setns",
    "setuid",
    "socket_packet",
    "socket_vsock",
    "syslog",
    "unshare",
    "userfaultfd",
    "vsyscall_time",
    "x32_getpid",
];

/// Every probe that is not simply a system call of its own name.
fn expected(probe: &'static str) -> Expected {
    match probe {
        "exit_group_asking" | "exit_group_ready" => Denied("exit_group"),
        "prctl_dumpable" | "prctl_pdeathsig" | "prctl_set_mm" => Denied("prctl"),
        "kill_guessed" => Denied("kill"),
        "ptrace_guessed" => Denied("ptrace"),
        "seccomp_new_listener" => Denied("seccomp"),
        "hostname" => Denied("uname"),
        "memfd_twice" => Denied("memfd_create"),
        "mmap_rwx" | "mmap_exec" | "mmap_over_region" | "mmap_zero_page" => Denied("mmap"),
        name if name.starts_with("mmap_malloc_") => Denied("mmap"),
        "mmap_as_malloc" | "brk" => Refused(libc::ENOMEM),
        "mprotect_region" | "mprotect_text" | "mprotect_data" => Denied("mprotect"),
        "store_read_only" => Fault("write to 0x4000000: region `ro` is mapped r here (+0x0)"),
        "store_read_only_end" => Fault("write to 0x4000fff: region `ro` is mapped r here (+0xfff)"),
        "load_behind_region" => Fault("read of 0x4001000: 0x0 bytes behind the end of region `ro`"),
        "load_before_region" => Fault("read of 0x3ffffff: 0x1 bytes before region `ro`"),
        "store_behind_region" => Fault("write to 0x5001000: 0x0 bytes behind the end of region `rw`"),
        "load_foreign" => {
            Fault("read of 0x7000000: nothing is mapped here; in PD `victim` region `secret` is")
        }
        "execute_data" => Fault("execution of 0x5000000: region `rw` is mapped rw here"),
        "store_code_region" => Fault("write to 0x6000000: region `code` is mapped rx here"),
        "store_text" | "store_peer_words" | "store_peer_status" => Fault("…: that memory is read-only"),
        "stack_overflow" => Fault("…: stack overflow: the stack has 0x2000 bytes"),
        "read_peer_doorbell"
        | "read_other_descriptors"
        | "read_console"
        | "read_standard_input"
        | "write_standard_input"
        | "write_own_doorbell"
        | "write_beyond" => Refused(libc::EBADF),
        "read_to_read_only"
        | "read_to_peer_words"
        | "read_to_text"
        | "read_to_before_region"
        | "read_to_behind_region"
        | "write_from_foreign"
        | "read_to_longer"
        | "write_from_longer"
        | "write_from_behind_region" => Refused(libc::EFAULT),
        name if name.starts_with("fcntl_") => Denied("fcntl"),
        name if name.starts_with("ioctl_") => Denied("ioctl"),
        name if name.starts_with("socket_") => Denied("socket"),
        "connect_abstract" | "connect_tcp" | "bind_tcp" => Denied("socket"),
        "sendmsg_descriptor" => Denied("sendmsg"),
        "create_file" => Denied("open"),
        "mknod_device" => Denied("mknod"),
        name if name.starts_with("open_") && !["open_tree", "open_by_handle_at"].contains(&name) => {
            Denied("open")
        }
        // Numbers with the x32 bit have no name of their own.
        "x32_getpid" => Denied("1073741863"),
        "int80_getpid" | "int80_openat" | "compatibility_mode" => Fault("ended by SIGSYS"),
        "vsyscall_time" => Denied("time"),
        name => Denied(name),
    }
}

/// Adds the cases.
pub fn cases(cases: &mut Cases, user: User, held: &mut Held) {
    let who = format!("{user:?}").to_lowercase();
    let mut table = Vec::new();
    cases.case(&format!("{who}: hostile programs"), || {
        table = attack(user);
        let count = table.iter().map(|row| row.seen.len()).sum::<usize>();
        format!("{} probes, {count} attempts", table.len())
    });
    for row in &table {
        held.tried += row.seen.len();
        cases.case(&format!("{who}: attack {}", row.probe), || {
            let judged = row.judge();
            held.held += row.seen.len();
            judged
        });
    }
}

/// Attempts, and how many of them came to what they must.
#[derive(Default)]
pub struct Held {
    /// Made.
    pub tried: usize,
    /// Stopped as they must be.
    pub held: usize,
}

/// All of one probe.
struct Row {
    probe: &'static str,
    /// From a constructor, from a handler: the launcher's report, or what the PD itself printed of an answer it got.
    seen: Vec<String>,
    /// Unsandboxed.
    control: Outcome,
}

impl Row {
    fn judge(&self) -> String {
        for seen in &self.seen {
            let right = match expected(self.probe) {
                Denied(call) => seen.starts_with(&format!("denied system call {call}(")),
                Fault(words) => match words.strip_prefix('…') {
                    Some(part) => seen.contains(part),
                    None => seen.starts_with(words),
                },
                Refused(errno) => *seen == format!("refused {errno}"),
            };
            assert!(right, "{}: {seen}", self.probe);
        }
        // Those that end their process in the control do so with the number they were called with.
        let done = match self.probe {
            "exit_group_asking" => Some(78),
            "exit_group_ready" => Some(77),
            _ => Some(0),
        };
        let control = if self.control.code == done {
            "succeeds unsandboxed"
        } else {
            let discretion = AT_THE_HOSTS_DISCRETION.contains(&self.probe);
            assert!(discretion, "{} fails unsandboxed, so it shows nothing: {}", self.probe, self.control);
            "not possible on this host or for this user even unsandboxed"
        };
        format!("{} | {control}", self.seen[1])
    }
}

/// Every probe there is.
pub fn probes() -> Vec<&'static str> {
    let names = PROBES.lines().filter_map(|line| line.strip_prefix("PROBE(")?.split_once(')'));
    names.map(|(name, _)| name).collect()
}

/// Attackers of one system: as many as there can be channels to one victim, which has two ends of its own.
pub const TOGETHER: usize = 60;

/// 32-bit code for [`attacks.c`]'s `compatibility_mode`: getpid, then exit with status 0.
const CODE: [u8; 16] = [
    0xb8, 20, 0, 0, 0, // mov eax, 20
    0xcd, 0x80, // int 0x80
    0x31, 0xdb, // xor ebx, ebx
    0xb8, 1, 0, 0, 0, // mov eax, 1
    0xcd, 0x80, // int 0x80
];

/// A world with the attackers' and the victim's image.
pub struct Surroundings {
    world: World,
}

impl Surroundings {
    /// Compiles them.
    pub fn new(user: User) -> Self {
        let world = World::new(user);
        world.write("code.bin", CODE);
        for (name, text) in HEADERS {
            world.write(name, text);
        }
        let ends = format!("-DENDS_FROM_NAME={}", ends_from_name());
        let flags = ["-O1", "-Wall", "-Wextra", "-Werror", ends.as_str()];
        world.program_with("attacker", SOURCE, &flags);
        world.program("victim", VICTIM);
        Self { world }
    }

    /// Where they are.
    pub fn world(&self) -> &World {
        &self.world
    }
}

fn attack(user: User) -> Vec<Row> {
    let Surroundings { world } = Surroundings::new(user);
    let control = control_program(&world);
    let probes = probes();
    let attempts: Vec<String> = ["c", "h"]
        .iter()
        .flat_map(|from| probes.iter().map(move |probe| format!("{from}_{probe}")))
        .collect();
    let mut seen = BTreeMap::new();
    for some in attempts.chunks(TOGETHER) {
        world.system("attack.system", &system(some));
        let outcome = world.run(&["run", "--until-idle", "attack.system"]);
        assert_eq!(outcome.code, Some(1), "{outcome}");
        let said = outcome.lines_of("victim");
        assert!(!said.is_empty() && said.iter().all(|line| *line == "my secret is intact"), "{outcome}");
        for name in some {
            seen.insert(name.clone(), what_became_of(&outcome, name));
        }
    }
    let row = |probe: &&'static str| Row {
        probe,
        seen: ["c", "h"].map(|from| seen[&format!("{from}_{probe}")].clone()).into(),
        control: run_control(&world, &control, probe),
    };
    probes.iter().map(row).collect()
}

/// The victim is the only one that maps the secret. It looks at it at once and for everybody whose attack has not ended in a fault.
const VICTIM: &str = r#"
#include <microkit.h>

static volatile unsigned long *const secret = (unsigned long *)0x7000000;

void init(void) { *secret = 42; microkit_notify(61); }
void notified(microkit_channel ch)
{
    (void)ch;
    microkit_dbg_puts(*secret == 42 ? "my secret is intact\n" : "my secret is gone\n");
}
"#;

/// A victim and these attackers, which are named by where from and what they attempt.
pub fn system(attackers: &[String]) -> String {
    let mut text = String::from(
        r#"<system>
  <memory_region name="ro" size="0x1000"/>
  <memory_region name="rw" size="0x1000"/>
  <memory_region name="code" size="0x1000" prefill_path="code.bin"/>
  <memory_region name="secret" size="0x1000"/>
  <protection_domain name="victim" priority="1">
    <program_image path="victim.elf"/>
    <map mr="secret" vaddr="0x7000000" perms="rw"/>
  </protection_domain>
  <channel><end pd="victim" id="61"/><end pd="victim" id="60"/></channel>
"#,
    );
    for (id, name) in attackers.iter().enumerate() {
        text += &format!(
            r#"  <protection_domain name="{name}" priority="2">
    <program_image path="attacker.elf"/>
    <map mr="ro" vaddr="0x4000000" perms="r"/>
    <map mr="rw" vaddr="0x5000000" perms="rw"/>
    <map mr="code" vaddr="0x6000000" perms="rx"/>
  </protection_domain>
  <channel><end pd="{name}" id="0"/><end pd="{name}" id="2"/></channel>
  <channel><end pd="{name}" id="1"/><end pd="victim" id="{id}"/></channel>
"#
        );
    }
    text + "</system>\n"
}

/// The first line of the launcher's report about a PD; without one, what the PD printed about the answer it got.
pub fn what_became_of(outcome: &Outcome, pd: &str) -> String {
    let start = format!("mk-sandbox: fault: PD `{pd}`: ");
    if let Some(report) = outcome.stderr.lines().find_map(|line| line.strip_prefix(&start)) {
        return report.to_owned();
    }
    match outcome.lines_of(pd)[..] {
        [line] => line.to_owned(),
        _ => panic!("PD `{pd}` has neither faulted nor been answered:\n{outcome}"),
    }
}

/// Bytes from `microkit_name`, which images may use, to libmicrokit's hidden table of channel ends.
fn ends_from_name() -> i64 {
    let library = object::File::parse(LIBMICROKIT).unwrap();
    let address = |name: &str| {
        let symbol = library.symbols().find(|symbol| symbol.name() == Ok(name));
        symbol.unwrap_or_else(|| panic!("libmicrokit.so has no symbol `{name}`")).address().cast_signed()
    };
    address("mk_ends") - address("microkit_name")
}

fn control_program(world: &World) -> PathBuf {
    let source = world.write("control.c", SOURCE);
    let program = world.path("control");
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    // Like an image, but for what makes it one.
    let built = Command::new(compiler)
        .args(["-O1", "-fPIC", "-D_GNU_SOURCE", "-DCONTROL", "-o"])
        .args([&program, &source])
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    program
}

/// As whoever runs the tests: root may do what some probes try.
fn run_control(world: &World, program: &Path, probe: &str) -> Outcome {
    let mut command = Command::new(program);
    command.arg(probe).arg(world.path("code.bin")).env_clear().current_dir(world.dir());
    crate::common::Running::start(command).wait()
}
