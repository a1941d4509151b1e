//! Images, where they are there: what `run` would refuse, what hardening they lack, and what they were built to call.

#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::rc::Rc;

use super::{Finding, Lint, kinds, of_diagnostic, pd_name};
use crate::image::{Image, ImageError, Problem};
use crate::plan;
use crate::report::words::{count, list, quoted};
use crate::sdf::{PdIndex, ProtectionDomain, System};

/// A PD's image, as far as it was read.
#[derive(Clone, Debug)]
pub struct ImageFile {
    /// SHA-256 of the whole file, in hexadecimal; nothing when it could not be read.
    pub sha256: Option<String>,
    /// The vetted image.
    pub image: Result<Rc<Image>, NotRead>,
}

/// Why there is no image.
#[derive(Clone, Debug)]
pub enum NotRead {
    /// It is nowhere in the search path: the directories, for a message.
    Missing(Option<String>),
    /// It is there and cannot be read.
    Unreadable(String),
    /// It was read and is not fit to be loaded.
    Refused(ImageError),
}

/// What a PD's image calls; unknown without the image.
pub(super) fn imports(images: &[ImageFile], pd: PdIndex) -> Option<BTreeSet<String>> {
    let image = images.get(pd.0)?.image.as_ref().ok()?;
    Some(image.imports().map(|name| name.into_owned()).collect())
}

pub(super) fn find(
    system: &System,
    images: &[ImageFile],
    permitted: &dyn Fn(&str) -> bool,
    found: &mut Vec<Finding>,
) {
    // What is wrong with a file is told once, at the first PD that uses it.
    let mut users: BTreeMap<&Path, Vec<(PdIndex, &ImageFile)>> = BTreeMap::new();
    for ((index, pd), file) in system.indexed_pds().zip(images) {
        users.entry(&pd.image.path).or_default().push((index, file));
        if let Ok(image) = &file.image {
            of_pd(system, index, image, found);
        }
    }
    for users in users.values() {
        let Some((first, file)) = users.first() else { continue };
        let pd = system.pd(*first);
        match &file.image {
            Ok(image) => of_file(pd, users.len(), image, permitted, found),
            Err(NotRead::Missing(places)) => {
                // The directories differ from machine to machine, the message must not.
                let looked =
                    places.as_ref().map(|places| format!("; looked in {places}")).unwrap_or_default();
                let help =
                    format!("`run` needs it: build it, or name its directory with --search-path{looked}");
                let message = format!("there is no image {}", image_name(pd));
                found.push(Finding::new(&kinds::IMAGE_NOT_FOUND, &pd.image.span, message).help(help));
            }
            Err(NotRead::Unreadable(why)) => {
                let message = format!("image {}: {why}", image_name(pd));
                found.push(Finding::new(&kinds::IMAGE_REFUSED, &pd.image.span, message));
            }
            Err(NotRead::Refused(error)) => found.push(refused(pd, error)),
        }
    }
}

fn image_name(pd: &ProtectionDomain) -> String {
    quoted(&pd.image.path.to_string_lossy())
}

fn refused(pd: &ProtectionDomain, error: &ImageError) -> Finding {
    let lint: &'static Lint = match &error.problem {
        Problem::WritableAndExecutable { .. } => &kinds::IMAGE_WRITABLE_EXECUTABLE,
        Problem::ExecutableStack { .. } => &kinds::IMAGE_EXECUTABLE_STACK,
        Problem::TextRelocations { .. } => &kinds::IMAGE_TEXT_RELOCATIONS,
        Problem::SearchPath { .. } => &kinds::IMAGE_SEARCH_PATH,
        Problem::IndirectFunction { .. } => &kinds::IMAGE_INDIRECT_FUNCTION,
        Problem::ForeignLibrary(_) => &kinds::IMAGE_FOREIGN_LIBRARY,
        _ => &kinds::IMAGE_REFUSED,
    };
    let message = format!("image {}: {}", image_name(pd), error.problem);
    Finding::new(lint, &pd.image.span, message).help(error.hint())
}

/// What depends on the PD as well as on its image.
fn of_pd(system: &System, index: PdIndex, image: &Image, found: &mut Vec<Finding>) {
    let pd = system.pd(index);
    if let Err(diagnostics) = plan::bind_image(pd, image) {
        found.extend(
            diagnostics.into_iter().map(|diagnostic| of_diagnostic(&kinds::SETVAR_SYMBOL, diagnostic)),
        );
    }
    let entries = image.entry_points();
    let callers: BTreeSet<PdIndex> = system
        .channels
        .iter()
        .flat_map(|channel| {
            let [one, other] = &channel.ends;
            [(one, other), (other, one)]
        })
        .filter(|(own, from)| own.pd == index && from.pp)
        .map(|(_, from)| from.pd)
        .collect();
    if !callers.is_empty() && entries.protected.is_none() {
        let callers: Vec<String> = callers.into_iter().map(|caller| pd_name(system, caller)).collect();
        let message = format!(
            "PD {} can be called by {}, but {} defines no `protected`",
            pd_name(system, index),
            list(&callers),
            image_name(pd)
        );
        found.push(
            Finding::new(&kinds::PROTECTED_MISSING, &pd.image.span, message)
                .help("microkit_msginfo protected(microkit_channel ch, microkit_msginfo msginfo)"),
        );
    }
    let children = system.pds.iter().filter(|other| other.parent.is_some_and(|(parent, _)| parent == index));
    let children = children.count();
    if children > 0 && entries.fault.is_none() {
        let message = format!(
            "PD {} has {}, but {} defines no `fault`",
            pd_name(system, index),
            if children == 1 { "a child".to_owned() } else { format!("{children} children") },
            image_name(pd)
        );
        found.push(
            Finding::new(&kinds::FAULT_MISSING, &pd.image.span, message).help(
                "seL4_Bool fault(microkit_child child, microkit_msginfo msginfo, microkit_msginfo *reply_msginfo)",
            ),
        );
    }
}

/// What the image is by itself.
fn of_file(
    pd: &ProtectionDomain,
    users: usize,
    image: &Image,
    permitted: &dyn Fn(&str) -> bool,
    found: &mut Vec<Finding>,
) {
    let name = image_name(pd);
    let whose =
        if users > 1 { format!("image {name} of {}", count(users, "PD")) } else { format!("image {name}") };
    let mut find = |lint, message: String, help: &str| {
        found.push(Finding::new(lint, &pd.image.span, message).help(help));
    };
    if !image.has_relro() {
        let message = format!("{whose} was linked without RELRO");
        find(&kinds::IMAGE_WITHOUT_RELRO, message, "link with -Wl,-z,relro");
    }
    if !image.has_bind_now() {
        let message = format!("{whose} was linked without BIND_NOW");
        find(&kinds::IMAGE_WITHOUT_BIND_NOW, message, "link with -Wl,-z,now");
    }
    let imports: BTreeSet<String> = image.imports().map(|name| name.into_owned()).collect();
    let denied: Vec<String> = SYSTEM_CALLS
        .iter()
        .filter(|(_, calls)| !calls.iter().any(|call| permitted(call)))
        .flat_map(|(functions, _)| functions.iter())
        .filter(|function| imports.contains(**function))
        .map(|function| format!("`{function}`"))
        .collect();
    if !denied.is_empty() {
        let message = format!("{whose} imports {}, which can only fault in a PD", list(&denied));
        find(&kinds::IMAGE_IMPORTS_DENIED, message, "a PD has no files, sockets, processes or threads");
    }
}

/// Functions of the C library, and the system calls of which they need one. A function that can do its work without a system
/// call, or whose call is answered with an error, is not here.
const SYSTEM_CALLS: &[(&[&str], &[&str])] = &[
    (
        &[
            "open", "open64", "openat", "openat64", "creat", "creat64", "fopen", "fopen64", "freopen",
            "opendir", "mkstemp", "tmpfile", "dlopen", "shm_open",
        ],
        &["open", "openat", "openat2"],
    ),
    (&["close", "fclose", "closedir"], &["close"]),
    (
        &["stat", "stat64", "lstat", "lstat64", "fstatat", "__xstat", "__lxstat"],
        &["stat", "lstat", "newfstatat", "statx"],
    ),
    (&["fstat", "fstat64", "__fxstat"], &["fstat", "newfstatat"]),
    (&["lseek", "lseek64"], &["lseek"]),
    (&["pread", "pread64"], &["pread64"]),
    (&["pwrite", "pwrite64"], &["pwrite64"]),
    (&["readv"], &["readv"]),
    (&["writev"], &["writev"]),
    (&["sendfile", "sendfile64"], &["sendfile"]),
    (&["access", "faccessat"], &["access", "faccessat", "faccessat2"]),
    (&["unlink", "unlinkat", "remove"], &["unlink", "unlinkat"]),
    (&["rename", "renameat", "renameat2"], &["rename", "renameat", "renameat2"]),
    (&["mkdir", "mkdirat"], &["mkdir", "mkdirat"]),
    (&["rmdir"], &["rmdir"]),
    (&["link", "symlink"], &["link", "linkat", "symlink", "symlinkat"]),
    (&["readlink", "readlinkat", "realpath"], &["readlink", "readlinkat"]),
    (&["chdir", "fchdir"], &["chdir", "fchdir"]),
    (&["chroot"], &["chroot"]),
    (&["chmod", "fchmod", "fchmodat"], &["chmod", "fchmod", "fchmodat"]),
    (&["chown", "fchown", "lchown"], &["chown", "fchown", "lchown", "fchownat"]),
    (&["getcwd", "get_current_dir_name"], &["getcwd"]),
    (&["truncate", "ftruncate"], &["truncate", "ftruncate"]),
    (&["mount", "umount", "umount2"], &["mount", "umount2"]),
    (&["ioctl"], &["ioctl"]),
    (&["fcntl", "fcntl64"], &["fcntl"]),
    (&["dup", "dup2", "dup3"], &["dup", "dup2", "dup3"]),
    (&["pipe", "pipe2"], &["pipe", "pipe2"]),
    (&["poll", "ppoll"], &["poll", "ppoll"]),
    (&["select", "pselect"], &["select", "pselect6"]),
    (&["epoll_create", "epoll_create1"], &["epoll_create", "epoll_create1"]),
    (&["epoll_wait", "epoll_pwait"], &["epoll_wait", "epoll_pwait"]),
    (&["eventfd"], &["eventfd", "eventfd2"]),
    (&["signalfd"], &["signalfd", "signalfd4"]),
    (&["timerfd_create"], &["timerfd_create"]),
    (&["inotify_init", "inotify_init1"], &["inotify_init", "inotify_init1"]),
    (&["memfd_create"], &["memfd_create"]),
    (&["socket", "socketpair"], &["socket", "socketpair"]),
    (&["connect"], &["connect"]),
    (&["bind"], &["bind"]),
    (&["listen"], &["listen"]),
    (&["accept", "accept4"], &["accept", "accept4"]),
    (&["send", "sendto", "sendmsg"], &["sendto", "sendmsg"]),
    (&["recv", "recvfrom", "recvmsg"], &["recvfrom", "recvmsg"]),
    (&["getaddrinfo", "gethostbyname"], &["socket"]),
    (
        &["fork", "vfork", "clone", "daemon", "popen", "system", "posix_spawn", "posix_spawnp"],
        &["fork", "vfork", "clone", "clone3"],
    ),
    (&["pthread_create", "thrd_create"], &["clone", "clone3"]),
    (
        &["execv", "execve", "execvp", "execvpe", "execl", "execlp", "execle", "fexecve"],
        &["execve", "execveat"],
    ),
    (&["wait", "waitpid", "waitid", "wait4"], &["wait4", "waitid"]),
    (&["exit", "_exit", "_Exit", "quick_exit"], &["exit", "exit_group"]),
    (&["kill", "killpg"], &["kill"]),
    (&["ptrace"], &["ptrace"]),
    (&["process_vm_readv", "process_vm_writev"], &["process_vm_readv", "process_vm_writev"]),
    (&["prctl"], &["prctl"]),
    (&["unshare", "setns"], &["unshare", "setns"]),
    (&["signal", "sigaction", "sigset"], &["rt_sigaction"]),
    (&["sigprocmask", "pthread_sigmask"], &["rt_sigprocmask"]),
    (&["sigaltstack"], &["sigaltstack"]),
    (&["alarm", "setitimer"], &["alarm", "setitimer"]),
    (&["sleep", "usleep", "nanosleep", "clock_nanosleep", "thrd_sleep"], &["nanosleep", "clock_nanosleep"]),
    (&["pause"], &["pause"]),
    (&["sched_yield"], &["sched_yield"]),
    (
        &["sched_setaffinity", "sched_setscheduler", "setpriority", "nice"],
        &["sched_setaffinity", "sched_setscheduler", "setpriority"],
    ),
    (&["getpid", "getppid", "gettid"], &["getpid", "getppid", "gettid"]),
    (&["getuid", "geteuid", "getgid", "getegid"], &["getuid", "geteuid", "getgid", "getegid"]),
    (
        &["setuid", "setgid", "setreuid", "setresuid", "setgroups"],
        &["setuid", "setgid", "setreuid", "setresuid", "setgroups"],
    ),
    (&["getrlimit", "setrlimit", "prlimit"], &["getrlimit", "setrlimit", "prlimit64"]),
    (&["uname", "gethostname"], &["uname"]),
    (&["mprotect"], &["mprotect"]),
    (&["munmap"], &["munmap"]),
    (&["mremap"], &["mremap"]),
    (&["madvise"], &["madvise"]),
    (&["mlock", "mlockall"], &["mlock", "mlock2", "mlockall"]),
    (&["shmget", "shmat"], &["shmget", "shmat"]),
    (&["getrandom", "getentropy", "arc4random"], &["getrandom"]),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::SYSTEM_CALLS;
    use crate::policy::syscall_number;

    #[test]
    fn the_calls_exist_and_functions_come_once() {
        let mut seen = BTreeSet::new();
        for (functions, calls) in SYSTEM_CALLS {
            for call in *calls {
                assert!(syscall_number(call).is_some(), "{call}");
            }
            for function in *functions {
                assert!(seen.insert(function), "{function}");
            }
        }
    }
}
