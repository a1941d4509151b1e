//! Systems that need everything the policy allows, under filters of choice, and what must be seen of them.

#![forbid(unsafe_code)]

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mk_sandbox::commands::prepare::{self, Wishes};
use mk_sandbox::launch::{self, Schedule, Wait};
use mk_sandbox::monitor::{self, Mode, Until};
use mk_sandbox::pd::{Seam, Step};
use mk_sandbox::policy::{Filters, PlanValues, Policy};
use mk_sandbox::sdf::Arch;
use mk_sandbox::sys::probe::Tier;
use mk_sandbox::{report, sys};
use nix::errno::Errno;

use crate::common::{Running, User, World};

/// First argument of this program when it is a launcher; the second is a file of filters.
pub const LAUNCHER: &str = "--launcher";

/// Fails a late step of the PD host when its argument says so: it then has to tell why and to end, under the loading filter.
pub struct FailsAt(Option<Step>);

const FAIL: &str = "fail";

/// Far beyond what the system takes that works.
const LIMIT: Duration = Duration::from_secs(5);

impl Seam for FailsAt {
    fn argument(&self) -> String {
        self.0.map_or(String::new(), |_| FAIL.into())
    }

    fn from_argument(argument: &str) -> Self {
        Self((argument == FAIL).then_some(Step::Seal))
    }

    fn before(&self, step: Step, _: &str) -> Result<(), Errno> {
        if self.0 == Some(step) { Err(Errno::EXDEV) } else { Ok(()) }
    }
}

/// Rings, is rung, prints, and allocates more than there is: `malloc`'s two ways, and both calls as they are.
const WORKER: &str = r#"
#include <microkit.h>
#include <stdio.h>
#include <stdlib.h>

static const char *const words = "data that is relocated";

static long call(long number, long a, long b, long c, long d, long e)
{
    long result;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = 0;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
    return result;
}

void init(void)
{
    char *block = malloc(100);
    printf("%s\n", block != NULL && words[0] == 'd' ? "begins" : "has no heap");
    printf("%s\n", malloc(1 << 28) == NULL ? "no memory" : "memory from nowhere");
    /* brk, and mmap as malloc makes it: with the descriptor as a long, and as an int that was zero-extended. */
    printf("%ld %ld %ld\n", call(12, 0x7fff0000, 0, 0, 0, 0), call(9, 0, 4096, 3, 0x22, -1), call(9, 0, 4096, 3, 0x22, 0xffffffff));
    microkit_notify(0);
}

void notified(microkit_channel ch) { printf("rung by %u\n", ch); }
"#;

/// What each PD prints.
const EXPECTED: [&str; 4] = ["begins", "no memory", "0 -12 -12", "rung by 1"];

/// What is told of a start that fails.
const FAILURE: &str = "failed while sealing its memory (step Seal, EXDEV: ";

const PDS: [&str; 4] = ["plain", "aligned", "joined", "headers"];

fn description() -> String {
    let pd = |name: &str| {
        format!(
            r#"<protection_domain name="{name}"><program_image path="{name}.elf"/></protection_domain>
               <channel><end pd="{name}" id="0"/><end pd="{name}" id="1"/></channel>"#
        )
    };
    format!("<system>{}</system>", PDS.map(pd).concat())
}

/// Where the systems are.
pub struct Stage {
    world: World,
    next: AtomicUsize,
}

impl Stage {
    /// Compiles the images.
    pub fn new() -> Self {
        let user = if nix::unistd::geteuid().is_root() { User::Root } else { User::Own };
        let world = World::new(user);
        let plain = world.program("plain", WORKER);
        // The dynamic linker reserves more than it needs, and has holes to close.
        world.program_with("aligned", WORKER, &["-Wl,-z,max-page-size=0x200000"]);
        let image = fs::read(plain).unwrap();
        world.write("joined.elf", with_code_first(image.clone()));
        world.write("headers.elf", with_headers_further_behind(image));
        world.system("x.system", &description());
        Self { world, next: AtomicUsize::new(0) }
    }

    /// Runs the systems under the filters of these policies: what was not as it must be.
    pub fn complaint(&self, who: &str, policies: &[Policy; 2]) -> Option<String> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let compile = |policy: &Policy| policy.compile("x86_64", &PlanValues::new());
        let filters = match (compile(&policies[0]), compile(&policies[1])) {
            (Ok(loading), Ok(running)) => Filters { loading: vec![loading], running: vec![running] },
            _ => return Some("it is no policy".into()),
        };
        let file = self.world.write(&format!("{number}.json"), serde_json::to_vec(&filters).unwrap());
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([LAUNCHER, file.to_str().unwrap()]).current_dir(self.world.dir()).env_clear();
        let outcome = Running::start(command).wait();
        fs::remove_file(file).unwrap();
        for pd in PDS {
            let lines = outcome.lines_of(pd);
            if lines != EXPECTED {
                let told = outcome.stderr.lines().next().unwrap_or_default();
                return Some(format!("`{pd}` prints {lines:?}; {told}"));
            }
        }
        let told: Vec<&str> = outcome.stderr.lines().collect();
        let as_expected = outcome.code == Some(0) && told.len() == 1 && told[0].contains(FAILURE);
        (!as_expected).then(|| format!("{who}: exit code {:?}, {told:?}", outcome.code))
    }
}

/// Its first segment executable, as linkers make it that join code and what is only read: it is not mapped at a given place.
fn with_code_first(mut image: Vec<u8>) -> Vec<u8> {
    // Behind the Elf64_Ehdr of 64 bytes; p_flags at 4.
    assert_eq!(image[64..72], [1, 0, 0, 0, 4, 0, 0, 0], "PT_LOAD, PF_R");
    image[68] = 5;
    image
}

/// Its program headers where the dynamic linker has to read them by themselves: beyond the 832 bytes that it reads at first, in what the
/// linker has left free behind the first segment, which grows by them.
fn with_headers_further_behind(mut image: Vec<u8>) -> Vec<u8> {
    // Elf64_Ehdr: e_phoff at 32, e_phnum at 56. Elf64_Phdr, 56 bytes: p_filesz at 32, p_memsz at 40.
    let word = |image: &[u8], at: usize| u64::from_le_bytes(image[at..at + 8].try_into().unwrap());
    let start = usize::try_from(word(&image, 32)).unwrap();
    let count = usize::from(u16::from_le_bytes(image[56..58].try_into().unwrap()));
    let headers = image[start..start + 56 * count].to_vec();
    let first_ends = usize::try_from(word(&headers, 32)).unwrap();
    let place = first_ends.next_multiple_of(8).max(840);
    let end = place + headers.len();
    assert!(end <= 0x1000 && image[first_ends..end].iter().all(|byte| *byte == 0), "room for the headers");
    image[place..end].copy_from_slice(&headers);
    image[32..40].copy_from_slice(&(place as u64).to_le_bytes());
    for size in [32, 40] {
        image[place + size..place + size + 8].copy_from_slice(&(end as u64).to_le_bytes());
    }
    image
}

/// The launcher's side: a start that fails, and then one that does not.
pub fn launcher(filters: &str) -> ExitCode {
    let wishes = Wishes {
        system: Path::new("x.system"),
        search_path: &[],
        arch: Arch::Any,
        build: false,
        heap_size: 1 << 20,
        tier: Tier::Full,
        schedule: Schedule::Linux,
        wait: Wait::Auto,
        realtime: false,
        again: false,
        allow_wx: false,
    };
    let mut launch = prepare::launch(&wishes).unwrap().launch;
    launch.filters = serde_json::from_slice(&fs::read(filters).unwrap()).unwrap();
    sys::descriptor::raise_limit().unwrap();
    let signals = prepare::take_signals().unwrap();
    let resources = launch::prepare(&launch, None).unwrap();
    match launch::start(&launch, &resources, &signals, &FailsAt(Some(Step::Seal))) {
        Ok(_) => eprintln!("the start did not fail"),
        Err(error) => eprintln!("{error}"),
    }
    let seam = FailsAt(None);
    let resources = launch::prepare(&launch, None).unwrap();
    let running = match launch::start(&launch, &resources, &signals, &seam) {
        Ok(running) => running,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    // A PD that does not sleep any more never ends.
    let until = Until { idle: true, limit: Some(LIMIT) };
    let options = monitor::Options { console: Mode::Prefixed, until, policy: monitor::Policy::Continue };
    let tell = |fault: &monitor::Fault, policy| {
        eprintln!("{}", report::fault(&launch.plan, fault, policy));
    };
    monitor::run(&launch, &resources, running, &signals, options, &tell).unwrap();
    ExitCode::SUCCESS
}
