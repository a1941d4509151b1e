//! From a system file to a launch: what `run` and `verify` have in common before the first process.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::sys::signal::Signal;
use nix::sys::signalfd::SignalFd;

use super::images::read_bounded;
use super::load::{self, Loaded};
use super::told::tell;
use super::{build, embedded, tier};
use crate::diagnostic::{Diagnostic, Severity};
use crate::exit::Exit;
use crate::image::{Image, Patch};
use crate::launch::{Launch, LaunchError, PdImage, Schedule, Wait};
use crate::pd::Step;
use crate::plan::{self, Plan};
use crate::policy::{Filters, PlanValues};
use crate::report::Timings;
use crate::sdf::{self, Arch, ProtectionDomain, Span, System};
use crate::sys::probe::Tier;
use crate::sys::{scheduling, signals};

/// What the command line says about a launch.
#[derive(Debug)]
pub struct Wishes<'a> {
    /// The system file.
    pub system: &'a Path,
    /// `--search-path`
    pub search_path: &'a [PathBuf],
    /// `--arch`
    pub arch: Arch,
    /// `--build`
    pub build: bool,
    /// `--heap-size`
    pub heap_size: u64,
    /// `--tier`
    pub tier: Tier,
    /// `--schedule`
    pub schedule: Schedule,
    /// `--wait`
    pub wait: Wait,
    /// `--realtime`
    pub realtime: bool,
    /// `--on-fault restart`
    pub again: bool,
    /// `--allow wx`
    pub allow_wx: bool,
}

/// A system that can be started.
#[derive(Debug)]
pub struct Prepared {
    /// The file.
    pub loaded: Loaded,
    /// What to start.
    pub launch: Launch,
    /// How long it took to get here.
    pub timings: Timings,
}

/// Reads, judges, builds and vets. Errors have been told when this returns one.
pub fn launch(wishes: &Wishes) -> Result<Prepared, Exit> {
    let mut timings = Timings::start();
    let loaded = load::system(wishes.system, wishes.search_path, wishes.arch)?;
    timings.done("reading the system");
    if wishes.build {
        build::images(&loaded)?;
        timings.done("building images");
    }
    let Loaded { source, system, search_path } = &loaded;
    let told = |diagnostics: Vec<Diagnostic>| {
        load::tell(source, &diagnostics);
        Exit::Invalid
    };
    let cpus = scheduling::cpus();
    let options = plan::Options { heap_size: wishes.heap_size, cpus, allow_wx: wishes.allow_wx };
    let plan = Plan::of(system, &options).map_err(told)?;
    timings.done("planning");
    let images = read_images(system, search_path).map_err(told)?;
    timings.done("reading and vetting images");
    let tier = tier::require(wishes.tier)?;
    timings.done("looking at the host");
    let filters = Filters::compile(std::env::consts::ARCH, &PlanValues::new()).map_err(|error| {
        tell(&error.to_string());
        Exit::Internal
    })?;
    timings.done("compiling filters");
    let launch = Launch {
        plan,
        images,
        filters,
        landlock_abi: tier.landlock_abi,
        without: tier.without,
        schedule: wishes.schedule,
        wait: wishes.wait,
        realtime: wishes.realtime,
        again: wishes.again,
        libmicrokit: embedded::LIBMICROKIT,
    };
    Ok(Prepared { loaded, launch, timings })
}

/// Says why a system did not start, and gives the exit code: what the host does not enforce of the tier, if that may be why, else
/// the step that failed, at its place in the file where it has one.
pub fn refused(loaded: &Loaded, tier: Tier, error: &LaunchError) -> Exit {
    if matches!(error.exit(), Exit::Host | Exit::Internal)
        && !matches!(error, LaunchError::Confined { .. })
        && let Err(exit) = tier::explain(tier)
    {
        return exit;
    }
    match place(&loaded.system, error) {
        Some(span) => load::tell(&loaded.source, &[Diagnostic::error(span, error.to_string())]),
        None => tell(&error.to_string()),
    }
    if let Some(hint) = error.hint() {
        tell(hint);
    }
    error.exit()
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

/// The signals that end a run, and those of children. From here on they are read from the descriptor: no handler runs, nothing is
/// missed.
pub fn take_signals() -> io::Result<SignalFd> {
    Ok(signals::take(&[Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP])?)
}

/// Every PD's image, read once, vetted, and bound to what the file sets in it. Errors of all PDs together.
fn read_images(system: &System, search: &[PathBuf]) -> Result<Vec<PdImage>, Vec<Diagnostic>> {
    let mut known = Known { search, vetted: BTreeMap::new(), prepared: Vec::new() };
    let mut images = Vec::new();
    let mut errors = Vec::new();
    for pd in &system.pds {
        match known.image_of(pd) {
            Ok(image) => images.push(image),
            Err(found) => errors.extend(found),
        }
    }
    if errors.is_empty() { Ok(images) } else { Err(errors) }
}

/// What PDs of the same program have in common.
struct Known<'a> {
    search: &'a [PathBuf],
    /// By the path that the file gives, and by that for symbols.
    vetted: BTreeMap<(&'a Path, Option<&'a Path>), Arc<Image>>,
    prepared: Vec<ImageCopy>,
}

/// An image's bytes as PDs are given them.
struct ImageCopy {
    image: Arc<Image>,
    patches: Vec<Patch>,
    bytes: Arc<Vec<u8>>,
}

impl<'a> Known<'a> {
    fn image_of(&mut self, pd: &'a ProtectionDomain) -> Result<PdImage, Vec<Diagnostic>> {
        let key = (pd.image.path.as_path(), pd.image.path_for_symbols.as_deref());
        let image = match self.vetted.get(&key) {
            Some(image) => Arc::clone(image),
            None => {
                let image = Arc::new(vetted_image(pd, self.search)?);
                self.vetted.insert(key, Arc::clone(&image));
                image
            }
        };
        let (plan, patches) = plan::bind_image(pd, &image)?;
        let is_same = |copy: &&ImageCopy| Arc::ptr_eq(&copy.image, &image) && copy.patches == patches;
        let bytes = match self.prepared.iter().find(is_same) {
            Some(copy) => Arc::clone(&copy.bytes),
            None => {
                let bytes = Arc::new(image.prepared(&patches));
                let copy = ImageCopy { image: Arc::clone(&image), patches, bytes: Arc::clone(&bytes) };
                self.prepared.push(copy);
                bytes
            }
        };
        Ok(PdImage { image, name: file_name(pd), bytes, plan })
    }
}

fn file_name(pd: &ProtectionDomain) -> String {
    pd.image.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn vetted_image(pd: &ProtectionDomain, search: &[PathBuf]) -> Result<Image, Vec<Diagnostic>> {
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
    let vetted = Image::read(&file_name(pd), bytes).and_then(|mut image| {
        if let Some((path, bytes)) = symbols {
            image.use_symbols_of(&path.to_string_lossy(), bytes)?;
        }
        Ok(image)
    });
    vetted.map_err(|refused| error(format!("PD `{}`: {refused}", pd.name), &refused.hint()))
}
