//! What is fed to a fuzzer: every reader of input that may be hostile, with what must hold whatever it is given.

#![forbid(unsafe_code)]

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{LazyLock, Mutex, PoisonError};

use mk_sandbox::diagnostic::{self, Severity, Source};
use mk_sandbox::image::{Constructors, Image};
use mk_sandbox::monitor::{self, Console, Mode, message, of_stop};
use mk_sandbox::pd::Layout;
use mk_sandbox::plan::{self, Plan};
use mk_sandbox::policy::{Action, PlanValues, Policy, SeccompData, evaluate, syscall_number};
use mk_sandbox::report::{self, graph, lint, lock, show};
use mk_sandbox::sdf::{self, Arch, Options, System};
use mk_sandbox::sys::trace::{self, SignalInfo};
use mk_sandbox::sys::{memfd, procfs};
use nix::unistd::Pid;

use crate::judge::{judge, number};

/// Feeds one input to a reader; panics when something does not hold.
pub type Target = fn(&[u8]);

/// Every target by its name, which is also that of its corpus.
pub const TARGETS: &[(&str, Target)] =
    &[("sdf", sdf), ("image", image), ("policy", policy), ("console", console), ("faults", faults)];

/// Far more than any message needs; what is quoted from the file is cut.
const LONGEST_MESSAGE: usize = 16 << 10;

/// A system description, up to the plan, and all that is said about it.
fn sdf(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let source = Source { path: PathBuf::from("fuzz.system"), text: text.to_owned() };
    // What differs between the architectures is little, and each input is judged for one of them.
    let arch = Arch::ALL[data.len() % Arch::ALL.len()];
    let loaded = sdf::load(&source, &Options { search_path: Vec::new(), arch, cpus: 4 });
    let (system, findings) = match loaded {
        Ok((system, warnings)) => (Some(system), warnings),
        Err(errors) => {
            assert!(
                errors.iter().any(|finding| finding.severity == Severity::Error),
                "refused without a reason"
            );
            (None, errors)
        }
    };
    for finding in &findings {
        assert!(finding.span.start <= finding.span.end && finding.span.end <= text.len(), "{finding:?}");
        assert!(diagnostic::render(&source, finding, false).len() < LONGEST_MESSAGE, "{finding:?}");
    }
    if let Some(system) = system {
        accepted(&source, &system);
    }
}

/// A valid system: the plan keeps what the file may rely on, and every way to tell of it works.
fn accepted(source: &Source, system: &System) {
    show::show(source, system);
    for format in [graph::Format::Dot, graph::Format::Mermaid, graph::Format::Svg] {
        let _ = graph::graph(system, "fuzz", format);
    }
    let hashes = vec![None; system.pds.len()];
    let lock = lock::Lock::of(system, &hashes, &["read".to_owned()]);
    let written = lock.to_text().expect("a lock can be written");
    assert!(lock::Lock::parse(&written).expect("and read back") == lock, "a lock is not what was written");
    let images: Vec<lint::ImageFile> = hashes.into_iter().map(no_image).collect();
    lint::findings(system, Vec::new(), &images, &|name| name == "read");
    let options = plan::Options { heap_size: plan::DEFAULT_HEAP_SIZE, cpus: 4, allow_wx: true };
    let Ok(plan) = Plan::of(system, &options) else { return };
    for pd in &plan.pds {
        let mut maps: Vec<(u64, u64)> = pd.maps.iter().map(|map| (map.vaddr, map.end())).collect();
        maps.extend(pd.guards.iter().map(|guard| (guard.vaddr, guard.vaddr + guard.size)));
        maps.sort_unstable();
        assert!(
            maps.iter().all(|(start, end)| start < end && *end <= plan::USER_TOP),
            "`{}`: {maps:x?}",
            pd.name
        );
        assert!(maps.windows(2).all(|pair| pair[0].1 <= pair[1].0), "`{}` overlaps: {maps:x?}", pd.name);
        for end in &pd.ends {
            let peer = plan.pd(end.peer);
            assert!(peer.ends.iter().any(|other| other.peer == pd.index), "one end alone: `{}`", pd.name);
        }
        let mut numbers: Vec<i32> = pd.descriptors.iter().map(|held| held.fd).collect();
        numbers.sort_unstable();
        assert!(numbers.iter().copied().eq(1..=numbers.len() as i32), "`{}`: {numbers:?}", pd.name);
    }
}

fn no_image(sha256: Option<String>) -> lint::ImageFile {
    lint::ImageFile { sha256, image: Err(lint::NotRead::Missing(None)) }
}

/// An image, and the copy of it that is loaded.
fn image(data: &[u8]) {
    let image = match Image::read("fuzz.elf", data.to_vec()) {
        Ok(image) => image,
        Err(error) => {
            assert!(!error.hint().is_empty() && error.to_string().len() < LONGEST_MESSAGE, "{error}");
            return;
        }
    };
    for address in [0, 1, 0x1000, image.memory_size() / 2, image.memory_size(), u64::MAX] {
        image.symbolize(address);
    }
    assert!(image.imports().all(|name| name.len() <= data.len()));
    let entries = image.entry_points();
    for entry in
        [Some(entries.init), Some(entries.notified), entries.protected, entries.fault].into_iter().flatten()
    {
        assert!(entry < image.memory_size(), "an entry point outside of the image: {entry:#x}");
    }
    let copy = image.prepared(&[]);
    let again = Image::read("fuzz.elf", copy).expect("the copy to load is an image");
    assert_eq!(again.constructors(), Constructors::default(), "constructors are left");
}

/// A policy file: if there are filters of it, they say what it says.
fn policy(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(policy) = Policy::parse("fuzz.json", text) else { return };
    let values = [("doorbell", 3), ("wide", u64::MAX)];
    let of_plan = values.iter().fold(PlanValues::new(), |all, (name, value)| all.with(name, *value));
    let Ok(program) = policy.compile("x86_64", &of_plan) else { return };
    for (index, rule) in policy.rules.iter().enumerate() {
        let nr = syscall_number(&rule.syscall).expect("it was compiled") as u32;
        let mut meets = [0x0123_4567_89ab_cdef; 6];
        for arg in &rule.args {
            meets[usize::from(arg.index)] = number(&arg.value, &values).expect("it was compiled");
        }
        // Every argument as it should be, one off, and with a bit of each half turned.
        for change in [0, 1, 1 << 31, 1 << 32, 1 << 63] {
            for turned in 0..6 {
                let mut args = meets;
                args[turned] ^= change;
                for (nr, arch) in
                    [(nr, 0xc000_003e), (nr | 0x4000_0000, 0xc000_003e), (nr + 1, 0xc000_003e), (nr, 3)]
                {
                    let call = SeccompData { nr, arch, instruction_pointer: index as u64, args };
                    let compiled = evaluate(&program, &call).expect("a program that the kernel takes");
                    assert_eq!(Some(compiled), judge(&policy, &values, &call), "{rule}: {call:x?}");
                    assert!(arch != 3 || compiled == Action::KillProcess);
                }
            }
        }
    }
}

/// Bytes that a PD prints, in pieces as they may come: what is printed of them steers no terminal and says whose it is.
fn console(data: &[u8]) {
    let Some((step, bytes)) = data.split_first() else { return };
    let mut console = Console::new("pd", Mode::Prefixed);
    let mut out = Vec::new();
    for piece in bytes.chunks(usize::from(*step).max(1)) {
        console.drain(piece, &mut out).expect("a Vec takes all");
        assert!(
            out.len() <= 4 * data.len() + 8 * (data.len() + 1),
            "more than can come of {} bytes",
            data.len()
        );
    }
    console.flush(&mut out).expect("a Vec takes all");
    let text = String::from_utf8(out).expect("it is text");
    assert!(text.is_empty() || text.ends_with('\n'));
    for line in text.lines() {
        let line = line.strip_prefix("pd | ").expect("every line says whose it is");
        assert!(line.chars().all(|character| character == '\t' || !character.is_control()), "{line:?}");
        assert!(line.len() <= 4 * 4096, "an endless line");
    }
    let mut raw = Vec::new();
    Console::new("pd", Mode::Raw).drain(bytes, &mut raw).expect("a Vec takes all");
    assert!(bytes.starts_with(&raw), "raw is not what came");
}

/// What the records of faults are read against: a system of one PD, its image, and where things lie in it.
struct Scene {
    plan: Plan,
    image: Image,
    layout: Layout,
    memory: File,
}

const IMAGE_BASE: u64 = 0x7f00_0000_0000;
const STACK: u64 = 0x7f00_1000_0000;
/// Nobody's: beyond the highest there can be.
const PID: Pid = Pid::from_raw(1 << 23);

const MAPS: &str = "4000000-4001000 rw-s 00000000 00:01 1 /memfd:one (deleted)
4001000-4002000 ---p 00000000 00:00 0
7f0000000000-7f0000001000 r--p 00000000 00:01 2 /small.elf
7f0000001000-7f0000003000 r-xp 00001000 00:01 2 /small.elf
7f0000003000-7f0000005000 rw-p 00003000 00:01 2 /small.elf
7f0000800000-7f0000810000 r-xp 00000000 00:01 3 /memfd:libmicrokit.so (deleted)
7f0010000000-7f0010001000 rw-p 00000000 00:00 0
7ffff0000000-7ffff0001000 r-xp 00000000 00:00 0 [vdso]
";

impl Scene {
    fn new() -> Self {
        let text = "<system><memory_region name='one' size='0x1000'/><protection_domain name='pd'>\
            <program_image path='small.elf'/><map mr='one' vaddr='0x4000000' perms='rw'/></protection_domain></system>";
        let source = Source { path: PathBuf::from("fuzz.system"), text: text.to_owned() };
        let (system, _) = sdf::load(&source, &Options { search_path: Vec::new(), arch: Arch::Any, cpus: 1 })
            .expect("a valid system");
        let options = plan::Options { heap_size: plan::DEFAULT_HEAP_SIZE, cpus: 1, allow_wx: false };
        let memory = memfd::fixed_size("memory", 0x7fff_ffff_f000).expect("a memory to read from");
        let maps = memfd::constant("maps", MAPS.as_bytes()).expect("a list of mappings");
        let status = memfd::constant("status", b"State:\tt (tracing stop)\n").expect("a status");
        procfs::keep(PID, [memory.try_clone().expect("a second descriptor"), maps, status]);
        Self {
            plan: Plan::of(&system, &options).expect("a plan"),
            image: Image::read("small.elf", include_bytes!("../corpus/image/small").to_vec())
                .expect("an image"),
            layout: Layout { image_base: IMAGE_BASE, stack: STACK, restart: 0, handoff: 0 },
            memory,
        }
    }
}

/// What the kernel says of a PD that has stopped, and what is in its memory then: registers, code and stack are all the PD's choice.
fn faults(data: &[u8]) {
    static SCENE: LazyLock<Mutex<Scene>> = LazyLock::new(|| Mutex::new(Scene::new()));
    let scene = SCENE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut words = data.chunks(8).map(|chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        u64::from_le_bytes(word)
    });
    let mut word = || words.next().unwrap_or(0);
    let head = word();
    let signals = [4, 5, 7, 8, 11, 31, 31, 31];
    let signal = signals[(head & 7) as usize];
    let number = (head >> 32) as i32;
    let info = SignalInfo {
        signal,
        code: (head >> 8) as u8 as i32,
        address: word(),
        syscall: (signal == 31).then_some((number, 0xc000_003e)),
    };
    let numbers: [u64; 20] = std::array::from_fn(|_| word());
    // Where code or a stack is, often enough.
    let near = |choice: u64, value: u64| match head >> choice & 3 {
        0 => IMAGE_BASE + 0x1000 + value % 0x2000,
        1 => STACK + value % 0x1000,
        2 => 0x400_0000 + value % 0x1000,
        _ => value,
    };
    let mut registers = trace::no_registers();
    message::set_context(&mut registers, &numbers);
    (registers.rip, registers.rsp) = (near(16, numbers[0]), near(18, numbers[1]));
    (registers.rdi, registers.rsi) = (near(20, numbers[8]), near(22, numbers[7]));
    let rest = data.get(22 * 8..).unwrap_or_default();
    for (at, bytes) in
        [registers.rip, registers.rsp, registers.rdi, registers.rsi].into_iter().zip(rest.chunks(64).cycle())
    {
        // Where there is no memory, nothing is written.
        let _ = scene.memory.write_all_at(bytes, at);
    }
    let pd = &scene.plan.pds[0];
    let fault = of_stop(&scene.plan, pd, (&scene.image, "small.elf"), scene.layout, PID, info, &registers);
    let told = report::fault(&scene.plan, &fault, monitor::Policy::Continue);
    assert!(told.len() < LONGEST_MESSAGE, "{told}");
    assert!(told.chars().all(|character| character == '\n' || !character.is_control()), "{told:?}");
    let sent = message::of_fault(&fault, &registers);
    assert!(sent.label < 16 && sent.words.len() <= 20, "{sent:?}");
    for count in [0, 1, numbers.len()] {
        let mut after = registers;
        message::apply_reply(&fault, &mut after, head >> 40 & 1, &numbers[..count]);
        // The kernel's own flags are not for a parent to set: traps, I/O privilege, interrupts.
        assert_eq!(after.eflags & !0xcd5, registers.eflags & !0xcd5);
        message::set_context(&mut after, &numbers[..count]);
        assert_eq!((after.eflags & !0xcd5, after.fs_base), (registers.eflags & !0xcd5, registers.fs_base));
    }
}
