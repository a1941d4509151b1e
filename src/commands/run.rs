//! `mk-sandbox run`: the one way from the system file to the report.

#![forbid(unsafe_code)]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::args::{Allow, RunArgs};
use super::load::{self, Loaded};
use super::{build, embedded, tier};
use crate::diagnostic::{Diagnostic, Severity};
use crate::exit::Exit;
use crate::image::Image;
use crate::launch::{self, Launch, LaunchError, PdImage};
use crate::monitor::{self, Until};
use crate::pd::{Seam, Step};
use crate::plan::{self, Plan};
use crate::policy::{Filters, PlanValues};
use crate::report;
use crate::sdf::{self, ProtectionDomain, Span, System};
use crate::sys::descriptor;

/// Bytes of the largest image file that is read.
const IMAGE_MAX: u64 = 256 << 20;

/// Runs the system until it ends; says everything there is to say and returns the exit code.
pub fn run<S: Seam>(args: &RunArgs, seam: &S) -> Exit {
    match try_run(args, seam) {
        Ok(exit) | Err(exit) => exit,
    }
}

/// An error has been told when this returns it.
fn try_run<S: Seam>(args: &RunArgs, seam: &S) -> Result<Exit, Exit> {
    let loaded = load::system(&args.system, &args.search_path, args.arch)?;
    let Loaded { source, system, search_path } = &loaded;
    if args.build {
        build::images(&loaded)?;
    }
    let told = |diagnostics: Vec<Diagnostic>| {
        load::tell(source, &diagnostics);
        Exit::Invalid
    };
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let allow_wx = args.allow.contains(&Allow::Wx);
    let options = plan::Options { heap_size: args.heap_size, cpus, allow_wx };
    let plan = Plan::of(system, &options).map_err(told)?;
    let images = read_images(system, search_path).map_err(told)?;
    let tier = tier::require(args.tier)?;
    let filters = Filters::compile(std::env::consts::ARCH, &PlanValues::new()).map_err(|error| {
        tell(&error.to_string());
        Exit::Internal
    })?;
    let launch = Launch {
        plan,
        images,
        filters,
        landlock_abi: tier.landlock_abi,
        without: tier.without,
        schedule: args.schedule.into(),
        realtime: args.realtime,
        libmicrokit: embedded::LIBMICROKIT,
    };
    let outcome = launch_and_watch(&launch, args, seam).map_err(|error| {
        let exit = error.exit();
        match place(system, &error) {
            Some(span) => load::tell(source, &[Diagnostic::error(span, error.to_string())]),
            None => tell(&error.to_string()),
        }
        if exit == Exit::Host {
            tell("this host cannot enforce the sandbox; `mk-sandbox doctor` says what it lacks and how to allow it");
        }
        exit
    })?;
    for chain in report::waiting(&launch.plan, &outcome) {
        tell(&format!("a call can never return: {chain}"));
    }
    Ok(report::exit(&outcome))
}

/// What in the file is why the system did not start: an image that the dynamic linker refuses, a `map` at a taken address.
fn place(system: &System, error: &LaunchError) -> Option<Span> {
    let LaunchError::Pd { pd, failure } = error else { return None };
    let pd = system.pds.iter().find(|candidate| candidate.name == *pd)?;
    if failure.step == Step::Image && error.exit() == Exit::Invalid {
        return Some(pd.image.span.clone());
    }
    let address = failure.address?;
    let map = pd.maps.iter().find(|map| {
        let end = map.vaddr + system.region(map.region).size;
        // With the guards at its edges.
        (map.vaddr.saturating_sub(plan::PAGE)..end + plan::PAGE).contains(&address)
    })?;
    Some(map.span.clone())
}

fn launch_and_watch<S: Seam>(
    launch: &Launch,
    args: &RunArgs,
    seam: &S,
) -> Result<monitor::Outcome, LaunchError> {
    let prepare = |what: &'static str| move |source| LaunchError::Prepare { what: what.into(), source };
    descriptor::raise_limit().map_err(io::Error::from).map_err(prepare("raising the limit on open files"))?;
    let signals = block_signals().map_err(prepare("taking signals"))?;
    let resources = launch::prepare(launch)?;
    let running = launch::start(launch, &resources, &signals, seam)?;
    tracing::info!(pds = running.len(), "every PD is confined and ready");
    let options = monitor::Options {
        console: args.console.into(),
        until: Until { idle: args.until_idle, limit: args.timeout },
        policy: args.on_fault.into(),
    };
    let on_fault = |fault: &monitor::Fault, policy| tell(&report::fault(&launch.plan, fault, policy));
    monitor::run(launch, &resources, running, &signals, seam, options, &on_fault)
        .map_err(prepare("watching the system"))
}

/// From here on these signals are read from the descriptor: no handler runs, nothing is missed.
fn block_signals() -> io::Result<SignalFd> {
    let mut set = SigSet::empty();
    for signal in [Signal::SIGCHLD, Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        set.add(signal);
    }
    set.thread_block()?;
    Ok(SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?)
}

/// Every PD's image, read once, vetted, and bound to what the file sets in it. Errors of all PDs together.
fn read_images(system: &System, search: &[PathBuf]) -> Result<Vec<PdImage>, Vec<Diagnostic>> {
    let mut images = Vec::new();
    let mut errors = Vec::new();
    for pd in &system.pds {
        match read_image(pd, search) {
            Ok(image) => images.push(image),
            Err(found) => errors.extend(found),
        }
    }
    if errors.is_empty() { Ok(images) } else { Err(errors) }
}

fn read_image(pd: &ProtectionDomain, search: &[PathBuf]) -> Result<PdImage, Vec<Diagnostic>> {
    let error = |message: String, help: &str| {
        vec![Diagnostic {
            severity: Severity::Error,
            span: pd.image.span.clone(),
            message,
            help: Some(help.to_owned()),
        }]
    };
    let open = |path: &Path| {
        let found = sdf::find_in_search_path(path, search).map_err(|_| {
            if search.iter().any(|dir| dir.join(path).is_dir()) {
                let message = format!("image `{}` of PD `{}` is a directory", path.display(), pd.name);
                return error(message, "give the file in it");
            }
            let places = search.iter().map(|dir| dir.display().to_string()).collect::<Vec<_>>().join(", ");
            error(
                format!("image `{}` of PD `{}` is not found", path.display(), pd.name),
                &format!("looked in {places}; `run --build` compiles NAME.c to NAME.elf first"),
            )
        })?;
        read_bounded(&found).map_err(|reason| {
            error(
                format!("image `{}` of PD `{}`: {reason}", found.display(), pd.name),
                "give a readable file",
            )
        })
    };
    let bytes = open(&pd.image.path)?;
    let symbols = match &pd.image.path_for_symbols {
        Some(path) => Some((path, open(path)?)),
        None => None,
    };
    let name = pd.image.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let vetted = Image::read(&name, bytes).and_then(|mut image| {
        if let Some((path, bytes)) = symbols {
            image.use_symbols_of(&path.to_string_lossy(), bytes)?;
        }
        Ok(image)
    });
    let image = vetted.map_err(|refused| error(format!("PD `{}`: {refused}", pd.name), &refused.hint()))?;
    let (plan, patches) = plan::bind_image(pd, &image)?;
    Ok(PdImage { bytes: image.prepared(&patches), image, name, plan })
}

fn read_bounded(path: &Path) -> Result<Vec<u8>, String> {
    use std::io::Read;
    // Opening a pipe would wait for somebody to write to it.
    if !fs::metadata(path).map_err(|error| error.to_string())?.is_file() {
        return Err("not a regular file".into());
    }
    let file = fs::File::open(path).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    file.take(IMAGE_MAX + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > IMAGE_MAX {
        return Err(format!("larger than {} MiB", IMAGE_MAX >> 20));
    }
    Ok(bytes)
}

fn tell(message: &str) {
    eprintln!("mk-sandbox: {message}");
}
