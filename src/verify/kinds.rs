//! Every kind of check: its id, what is looked at, and what a difference would mean. Ids are a contract with reports: none is ever
//! renamed or reused.

#![forbid(unsafe_code)]

/// A kind of check.
#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    /// Its name for ever.
    pub id: &'static str,
    /// What is looked at, a noun phrase.
    pub title: &'static str,
    /// What it would mean if the kernel's account were another one than the plan's.
    pub why: &'static str,
}

/// The kind with this id.
pub fn by_id(id: &str) -> Option<&'static Kind> {
    ALL.iter().find(|kind| kind.id == id)
}

macro_rules! kinds {
    ($($id:literal $title:literal $why:literal;)*) => {
        /// Every kind, in the order they are looked at.
        pub static ALL: &[Kind] = &[$(Kind { id: $id, title: $title, why: $why }),*];
    };
}

kinds! {
    "no_new_privs" "no_new_privs"
        "Without it a program with a setuid bit or file capabilities could give the PD privileges back.";
    "seccomp-mode" "whether system calls are filtered"
        "Without a filter the PD may make every system call.";
    "seccomp-filters" "the number of filters in force"
        "A filter fewer than the policy has leaves a rule out; one more is somebody else's.";
    "capabilities" "the five sets of capabilities"
        "A capability is a part of root's power.";
    "tracer" "who traces the PD"
        "The launcher hears faults as the tracer, and the PD ends with it; another tracer could read and change everything in the PD.";
    "threads" "the number of threads"
        "A second thread would run beside the one that was confined.";
    "namespaces" "the eight namespaces, each the PD's own"
        "What is shared with the launcher or another PD can be seen and reached from the PD.";
    "limits" "the limits on resources"
        "They hold where a filter is not asked: descriptors, processes, files, locked memory.";
    "environment" "the environment"
        "It would tell the PD of the user who started the system.";
    "session" "the process group, the session and its terminal"
        "A PD in its user's session could read from and type into the terminal.";
    "mounts" "the mounted file systems"
        "Whatever else is mounted are files within the PD's reach.";
    "root" "the files in the PD's root"
        "Nothing but its own image is to be there.";
    "regions" "the memory regions, at their addresses and rights"
        "Other rights than the file's are another policy.";
    "guards" "the guard pages around regions"
        "Without them a run past a region's end lands in other memory instead of being a fault.";
    "channel-memory" "the pages of channels"
        "A page that a PD may write beyond its own lets it forge, clear or replay another's events.";
    "mappings" "all other mappings"
        "Memory that nobody planned may hold what is another's.";
    "writable-and-executable" "memory that is writable and executable"
        "It is the step from a bug in data to foreign code.";
    "sealed" "the sealing of every mapping"
        "What is not sealed can be mapped anew, at other rights.";
    "descriptors" "the open descriptors, with the pipe behind each"
        "read and write are allowed without a look at their arguments, since the table holds nothing but the PD's own pipes.";
    "system-calls" "every system call number, tried"
        "A call that is made instead of stopped is a way out of the plan.";
    "read-and-write" "the two calls that PDs live on"
        "They are made, and reach the PD's own descriptors only.";
    "brk" "how malloc's first request for more memory is answered"
        "It has to be answered without being made.";
    "mmap" "how malloc's second request for more memory is answered"
        "It has to be answered without being made.";
    "mmap-executable" "a request for memory that is writable and executable"
        "It has to stop the PD.";
}
