//! The PD host from its first line to its last, in the order of [`Step`].

#![allow(unsafe_code)]

use std::cell::Cell;
use std::convert::Infallible;
use std::fs::File;
use std::io::{Read, Write};
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::Pid;

use super::handoff::{Handoff, Layout, Report};
use super::seam::{Layer, Seam, Shipped};
use super::step::{Failure, Step};
use super::{confine, load, map, root};
use crate::policy::Program;
use crate::sys::{self, descriptor, errno_of, floor, landlock, library, memory, privilege, seccomp, signals};

/// What the launcher puts before the PD's name as the program's name; `ps` shows it.
pub const ARGV0_PREFIX: &str = "mk-pd:";

/// Ends the process when a step fails after the status pipe is closed; the launcher knows it from no other cause.
const FAILED_UNREPORTED: i32 = 70;

/// Among the functions that the C library runs before main (gABI, Initialization and Termination Functions), behind the one by which
/// Rust's library learns the arguments. What Rust's runtime does before main is nothing that a PD host needs: it reads /proc/self/maps to
/// find its stack, and takes signals that the host would give back.
#[used]
// SAFETY: the section is an array of such functions, and this is one.
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = {
    extern "C" fn before_main() {
        if let Some(start) = Start::of_arguments()
            && start.seam == Shipped::ARGUMENT
        {
            start.host::<Shipped>();
        }
    }
    before_main
};

/// Becomes the PD host when the launcher started this process as one. Does not return then.
pub fn entry<S: Seam>() {
    if let Some(start) = Start::of_arguments() {
        start.host::<S>();
    }
}

/// How the launcher starts a PD host.
struct Start {
    handoff: Option<RawFd>,
    seam: String,
}

impl Start {
    fn of_arguments() -> Option<Self> {
        // Not `args`, which panics where an argument is no UTF-8: this is the first line of every command.
        let mut arguments = std::env::args_os().map(|argument| argument.into_string().unwrap_or_default());
        if !arguments.next()?.starts_with(ARGV0_PREFIX) {
            return None;
        }
        let handoff = arguments.next().and_then(|fd| fd.parse().ok());
        Some(Self { handoff, seam: arguments.next().unwrap_or_default() })
    }

    fn host<S: Seam>(self) -> ! {
        become_host(self.handoff, &S::from_argument(&self.seam))
    }
}

fn become_host<S: Seam>(handoff_fd: Option<RawFd>, seam: &S) -> ! {
    let Some(mut handoff) = handoff_fd.and_then(read_handoff) else {
        eprintln!("mk-sandbox: only the launcher starts a PD host");
        std::process::exit(2);
    };
    let Err(failure) = run(&mut handoff, seam);
    report(handoff.status, &Report::Failed(failure));
    // Not the standard library's exit: what it does at the end is more than the loading filter allows.
    sys::exit_now(FAILED_UNREPORTED)
}

fn read_handoff(fd: RawFd) -> Option<Handoff> {
    // A reader of its own: whoever starts this by hand may name a number that is closed. The step that leaves only the granted
    // descriptors closes the launcher's.
    let mut file = descriptor::reader(fd).ok()?;
    let mut text = Vec::new();
    file.read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

/// One write; a pipe takes it whole or, when the launcher is gone, not at all.
fn report(fd: RawFd, report: &Report) {
    let Ok(mut text) = serde_json::to_vec(report) else { return };
    text.truncate(super::REPORT_MAX);
    // SAFETY: the number is the status pipe's until the step that closes it; the File does not close it.
    let mut pipe = ManuallyDrop::new(unsafe { File::from_raw_fd(fd) });
    let _ = pipe.write_all(&text);
}

/// Descriptors that outlive the loading filter's installation are not dropped, also when a step fails: in debug builds the standard
/// library looks at a descriptor with fcntl before it closes it, which the filter denies.
fn run<S: Seam>(handoff: &mut Handoff, seam: &S) -> Result<Infallible, Failure> {
    let name = handoff.name.clone();
    let times = [const { Cell::new(0) }; Step::ALL.len()];
    let step = |step: Step| {
        times[step as usize].set(floor::cycles());
        seam.before(step, &name).map_err(|errno| Failure::new(step, errno))
    };

    step(Step::Handoff)?;
    // The kernel's list of this process's mappings, for sealing them when there is no procfs any more.
    let own_maps =
        File::open("/proc/self/maps").map_err(|error| Failure::new(Step::Handoff, errno_of(&error)))?;

    step(Step::ParentDeath)?;
    signals::reset().map_err(at(Step::ParentDeath))?;
    privilege::die_with_parent().map_err(at(Step::ParentDeath))?;
    // SAFETY: the descriptor is this function's alone.
    check_parent(unsafe { descriptor::adopt(handoff.launcher) }).map_err(at(Step::ParentDeath))?;

    step(Step::Session)?;
    // Its session is that of who has cloned it: the PDs' ([`sys::session`]). Of the process group it is the only one.
    nix::unistd::setpgid(Pid::from_raw(0), Pid::from_raw(0)).map_err(at(Step::Session))?;
    privilege::set_name(&name).map_err(at(Step::Session))?;
    // What the launcher's user keeps from others must not keep the image from the PD.
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));

    step(Step::Hostname)?;
    if !seam.leaves_out(Layer::Namespaces) {
        nix::unistd::sethostname(&name).map_err(at(Step::Hostname))?;
    }

    step(Step::Channels)?;
    let channels = map::channels(handoff).map_err(at(Step::Channels))?;

    step(Step::Regions)?;
    map::regions(handoff)?;

    step(Step::Stack)?;
    let stack = memory::private_with_guards(handoff.stack_size).map_err(at(Step::Stack))?;
    let page = load::handoff_page().map_err(at(Step::Stack))?;

    step(Step::Libraries)?;
    let libmicrokit = load::libraries(handoff)?;

    step(Step::Root)?;
    let image_path = root::make(handoff, seam.leaves_out(Layer::Namespaces))?;

    step(Step::Limits)?;
    if !seam.leaves_out(Layer::Limits) {
        privilege::limit_resources().map_err(at(Step::Limits))?;
    }

    step(Step::Capabilities)?;
    if !seam.leaves_out(Layer::Capabilities) {
        privilege::drop_capabilities().map_err(at(Step::Capabilities))?;
    }

    step(Step::Privileges)?;
    privilege::no_new_privileges().map_err(at(Step::Privileges))?;
    privilege::undumpable().map_err(at(Step::Privileges))?;
    if !handoff.without.mdwe {
        memory::deny_write_execute().map_err(at(Step::Privileges))?;
    }
    // Only now, since changing credentials resets it.
    privilege::die_with_parent().map_err(at(Step::Privileges))?;

    step(Step::Descriptors)?;
    let held = handoff.descriptors.len();
    let own_maps = arrange_descriptors(handoff, own_maps).map_err(at(Step::Descriptors))?;

    step(Step::Landlock)?;
    let mut no_files = ManuallyDrop::new(None);
    if !seam.leaves_out(Layer::Landlock) {
        confine::landlock_image_only(handoff.landlock_abi, &image_path)?;
        *no_files = Some(confine::landlock_nothing(handoff.landlock_abi)?);
    }

    step(Step::LoadingFilter)?;
    install(&handoff.loading_filters).map_err(at(Step::LoadingFilter))?;

    step(Step::Image)?;
    let image = load::image(&image_path)?;

    step(Step::LandlockAll)?;
    if let Some(no_files) = ManuallyDrop::into_inner(no_files) {
        landlock::restrict_self(no_files).map_err(at(Step::LandlockAll))?;
    }

    step(Step::Variables)?;
    load::variables(handoff, &image);

    step(Step::Heap)?;
    memory::fix_stdio().map_err(at(Step::Heap))?;
    memory::fix_heap(usize::try_from(handoff.heap_size).unwrap_or(usize::MAX)).map_err(at(Step::Heap))?;
    load::fill_handoff(page, handoff, &channels, &image).map_err(at(Step::Heap))?;

    step(Step::Seal)?;
    {
        // Freed at the end of this block: what is allocated now comes out of the PD's heap.
        let mappings = confine::mappings(own_maps).map_err(at(Step::Seal))?;
        if !handoff.without.mseal {
            confine::seal(&mappings).map_err(at(Step::Seal))?;
            if !memory::is_sealed(page as u64) {
                return Err(Failure::new(Step::Seal, Errno::ENOTSUP));
            }
        }
    }

    step(Step::FinalFilter)?;
    step(Step::Ready)?;
    let layout = Layout { image_base: image.base, stack, restart: libmicrokit.restart, handoff: page as u64 };
    report(handoff.status, &Report::Layout(layout, Box::new(times.map(Cell::into_inner))));
    let filters = std::mem::take(&mut handoff.final_filters);
    let top = stack + handoff.stack_size;
    // Descriptor 0 stays closed, so the numbers held are 1 to `held`.
    let numbers = (!seam.leaves_out(Layer::Limits)).then_some(held as u64 + 1);
    finish(handoff.status, numbers, &filters, libmicrokit.start, page, top)
}

/// The last acts: nothing here can be reported any more but by how the process ends.
fn finish(
    status: RawFd,
    numbers: Option<u64>,
    filters: &[Program],
    mk_start: u64,
    handoff: *const crate::sys::abi::Handoff,
    stack_top: u64,
) -> ! {
    // SAFETY: the status pipe is this function's alone.
    let closed = descriptor::close_owned(unsafe { descriptor::adopt(status) });
    let limited = numbers.map_or(Ok(()), privilege::limit_to_what_is_there);
    if closed.and(limited).and_then(|()| install(filters)).is_err() {
        sys::exit_now(FAILED_UNREPORTED);
    }
    // SAFETY: mk_start is libmicrokit's entry, the stack was made for this PD and page sizes keep its end aligned.
    unsafe { library::enter(mk_start, handoff, stack_top) }
}

/// No filter at all is an error, not an open door.
fn install(filters: &[Program]) -> Result<(), Errno> {
    if filters.is_empty() {
        return Err(Errno::EINVAL);
    }
    filters.iter().try_for_each(|filter| seccomp::install(&filter.words))
}

/// The parent-death signal covers a parent that dies from now on; the pidfd tells of one that is dead already.
fn check_parent(launcher: OwnedFd) -> Result<(), Errno> {
    let mut fds = [PollFd::new(launcher.as_fd(), PollFlags::POLLIN)];
    let gone = poll(&mut fds, PollTimeout::ZERO)? > 0;
    if gone { Err(Errno::EOWNERDEAD) } else { Ok(()) }
}

/// Leaves the granted descriptors, and behind them the status pipe and the list of mappings, which go before the image runs.
fn arrange_descriptors(handoff: &mut Handoff, own_maps: File) -> Result<ManuallyDrop<File>, Errno> {
    use std::os::fd::IntoRawFd;
    let next = handoff.descriptors.iter().map(|(_, to)| *to).max().unwrap_or(0) + 1;
    let (status, maps) = (next, next + 1);
    let mut all = handoff.descriptors.clone();
    all.push((handoff.status, status));
    all.push((own_maps.into_raw_fd(), maps));
    // SAFETY: every descriptor this host still uses is in the list.
    unsafe { descriptor::arrange(&all)? };
    handoff.status = status;
    // SAFETY: `arrange` has just put it there.
    Ok(ManuallyDrop::new(File::from(unsafe { descriptor::adopt(maps) })))
}

fn at(step: Step) -> impl Fn(Errno) -> Failure {
    move |errno| Failure::new(step, errno)
}
