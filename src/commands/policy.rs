//! `mk-sandbox policy`: what `run` would grant each PD, from the plan and the policy files alone. Nothing is started and no
//! image is read.

#![forbid(unsafe_code)]

use serde::Serialize;

use super::args::{Format, PolicyArgs};
use super::{load, say};
use crate::diagnostic::Diagnostic;
use crate::exit::Exit;
use crate::plan::{self, DescriptorKind, EndPlan, PdPlan, Plan};
use crate::policy::{Answer, Otherwise, Policy, PolicyError, Rule, landlock};
use crate::report::words::bytes;
use crate::sys::{clone, probe};

/// Prints the policy of every PD, or of the one asked for.
pub fn run(args: &PolicyArgs) -> Exit {
    match report(args) {
        Ok(report) => match args.format {
            Format::Human => say(&report.to_string()),
            Format::Json => match serde_json::to_string_pretty(&report) {
                Ok(text) => say(&format!("{text}\n")),
                Err(error) => internal(&error.to_string()),
            },
        },
        Err(exit) => exit,
    }
}

fn internal(error: &str) -> Exit {
    super::told::tell(error);
    Exit::Internal
}

/// An error is told when this returns its exit code.
fn report(args: &PolicyArgs) -> Result<Report, Exit> {
    let loaded = load::system(&args.system, &args.search_path, args.arch)?;
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let options = plan::Options { heap_size: args.heap_size, cpus, allow_wx: true };
    let plan = Plan::of(&loaded.system, &options).map_err(|errors: Vec<Diagnostic>| {
        load::tell(&loaded.source, &errors);
        Exit::Invalid
    })?;
    let every_pd = EveryPd::new().map_err(|error| internal(&error.to_string()))?;
    let wanted = |pd: &&PdPlan| args.pd.as_ref().is_none_or(|name| *name == pd.name);
    let pds: Vec<Pd> = plan.pds.iter().filter(wanted).map(|pd| Pd::of(&plan, pd)).collect();
    if let (Some(name), true) = (&args.pd, pds.is_empty()) {
        let known: Vec<&str> = plan.pds.iter().map(|pd| pd.name.as_str()).collect();
        super::told::tell(&format!("there is no PD `{name}`; the system has: {}", known.join(", ")));
        return Err(Exit::Usage);
    }
    Ok(Report { pds, every_pd })
}

/// The whole answer. Its fields are the JSON form, which names PDs and regions instead of numbering them.
#[derive(Debug, Serialize)]
struct Report {
    pds: Vec<Pd>,
    every_pd: EveryPd,
}

#[derive(Debug, Serialize)]
struct Pd {
    name: String,
    image: String,
    priority: u8,
    cpu: Option<u32>,
    stack_size: u64,
    heap_size: u64,
    regions: Vec<Region>,
    channels: Vec<Channel>,
    channel_memory: Vec<ChannelMemory>,
    descriptors: Vec<Descriptor>,
}

#[derive(Debug, Serialize)]
struct Region {
    name: String,
    vaddr: u64,
    size: u64,
    perms: String,
}

#[derive(Debug, Serialize)]
struct Channel {
    id: u8,
    peer: String,
    peer_id: u8,
    may_notify: bool,
    may_call: bool,
    may_be_notified: bool,
    may_be_called: bool,
}

#[derive(Debug, Serialize)]
struct ChannelMemory {
    pd: String,
    perms: &'static str,
    pages: Vec<u64>,
}

#[derive(Debug, Serialize)]
struct Descriptor {
    fd: i32,
    what: String,
    perms: &'static str,
}

/// Bits of clone3(2) and the kinds of namespace they make, by their names in /proc/PID/ns.
const NAMESPACE_KINDS: [(u64, &str); 8] = [
    (libc::CLONE_NEWUSER as u64, "user"),
    (libc::CLONE_NEWNS as u64, "mnt"),
    (libc::CLONE_NEWPID as u64, "pid"),
    (libc::CLONE_NEWNET as u64, "net"),
    (libc::CLONE_NEWIPC as u64, "ipc"),
    (libc::CLONE_NEWUTS as u64, "uts"),
    (libc::CLONE_NEWCGROUP as u64, "cgroup"),
    (0x80, "time"),
];

/// Those that every PD is started in.
fn namespaces() -> Vec<&'static str> {
    let kinds = NAMESPACE_KINDS.into_iter().filter(|(bit, _)| clone::NAMESPACES & bit != 0);
    kinds.map(|(_, name)| name).collect()
}

/// What is the same for every PD of every system.
#[derive(Debug, Serialize)]
struct EveryPd {
    running: Policy,
    loading: Policy,
    landlock: Landlock,
    namespaces: Vec<&'static str>,
}

#[derive(Debug, Serialize)]
struct Landlock {
    abi: u32,
    denied: Vec<String>,
    allowed_while_loading: Vec<String>,
}

impl Pd {
    fn of(plan: &Plan, pd: &PdPlan) -> Self {
        let name = |index| plan.pd(index).name.clone();
        let region = |map: &plan::MapPlan| Region {
            name: map.name.clone(),
            vaddr: map.vaddr,
            size: map.size,
            perms: map.perms.to_string(),
        };
        let channel = |end: &EndPlan| Channel {
            id: end.id,
            peer: name(end.peer),
            peer_id: end.peer_id,
            may_notify: end.rights.may_notify,
            may_call: end.rights.may_call,
            may_be_notified: end.rights.hears,
            may_be_called: end.rights.serves,
        };
        let descriptor = |descriptor: &plan::Descriptor| {
            let (what, perms) = match descriptor.what {
                DescriptorKind::Console => ("console".to_owned(), "w"),
                DescriptorKind::Doorbell => ("doorbell".to_owned(), "r"),
                DescriptorKind::PeerDoorbell(peer) => (format!("doorbell of {}", name(peer)), "w"),
            };
            Descriptor { fd: descriptor.fd, what, perms }
        };
        Self {
            name: pd.name.clone(),
            image: pd.image.display().to_string(),
            priority: pd.priority,
            cpu: pd.cpu,
            stack_size: pd.stack_size,
            heap_size: pd.heap_size,
            regions: pd.maps.iter().map(region).collect(),
            channels: pd.ends.iter().map(channel).collect(),
            channel_memory: channel_memory(plan, pd),
            descriptors: pd.descriptors.iter().map(descriptor).collect(),
        }
    }
}

/// A PD's own pages, then those of each peer, in the order of its ends.
fn channel_memory(plan: &Plan, pd: &PdPlan) -> Vec<ChannelMemory> {
    let own = ChannelMemory { pd: pd.name.clone(), perms: "rw", pages: (0..pd.channel_pages).collect() };
    let mut all = vec![own];
    for end in pd.ends.iter().filter(|end| end.peer != pd.index) {
        let peer = &plan.pd(end.peer).name;
        let place = match all.iter().position(|memory| memory.pd == *peer) {
            Some(place) => place,
            None => {
                // Page 0 says whether the peer sleeps.
                all.push(ChannelMemory { pd: peer.clone(), perms: "r", pages: vec![0] });
                all.len() - 1
            }
        };
        all[place].pages.push(end.incoming.page);
    }
    for memory in &mut all {
        memory.pages.sort_unstable();
        memory.pages.dedup();
    }
    all
}

impl EveryPd {
    fn new() -> Result<Self, PolicyError> {
        let abi = probe::landlock_abi().unwrap_or(0);
        let while_loading = landlock::Handled { fs: landlock::while_loading(), ..landlock::handled(0) };
        Ok(Self {
            running: Policy::running()?,
            loading: Policy::loading()?,
            landlock: Landlock {
                abi,
                denied: landlock::handled(abi).names(),
                allowed_while_loading: while_loading.names(),
            },
            namespaces: namespaces(),
        })
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for pd in &self.pds {
            writeln!(f, "{pd}")?;
        }
        self.every_pd.fmt(f)
    }
}

impl std::fmt::Display for Pd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PD `{}`: {}, priority {}", self.name, self.image, self.priority)?;
        if let Some(cpu) = self.cpu {
            write!(f, ", CPU {cpu}")?;
        }
        writeln!(f, "\n  stack {}, heap {}", bytes(self.stack_size), bytes(self.heap_size))?;
        writeln!(f, "  memory regions{}", none_if(self.regions.is_empty()))?;
        for region in &self.regions {
            writeln!(
                f,
                "    {:#014x}..{:#014x}  {:<3}  {} ({})",
                region.vaddr,
                region.vaddr + region.size,
                region.perms,
                region.name,
                bytes(region.size)
            )?;
        }
        writeln!(f, "  channels{}", none_if(self.channels.is_empty()))?;
        for channel in &self.channels {
            let rights = [
                (channel.may_notify, "notifies it"),
                (channel.may_call, "calls it"),
                (channel.may_be_notified, "is notified"),
                (channel.may_be_called, "is called"),
            ];
            let rights: Vec<&str> =
                rights.into_iter().filter(|(on, _)| *on).map(|(_, right)| right).collect();
            let rights = if rights.is_empty() { "nothing".to_owned() } else { rights.join(", ") };
            writeln!(
                f,
                "    {:>2}  with `{}` (there {}): {rights}",
                channel.id, channel.peer, channel.peer_id
            )?;
        }
        writeln!(f, "  channel memory")?;
        for memory in &self.channel_memory {
            let pages: Vec<String> = memory.pages.iter().map(u64::to_string).collect();
            let whose = if memory.pd == self.name { "its own".into() } else { format!("of `{}`", memory.pd) };
            writeln!(f, "    {:<3}  {whose}: page {}", memory.perms, pages.join(", "))?;
        }
        writeln!(f, "  descriptors")?;
        for descriptor in &self.descriptors {
            writeln!(f, "    {:>2}  {:<3}  {}", descriptor.fd, descriptor.perms, descriptor.what)?;
        }
        Ok(())
    }
}

impl std::fmt::Display for EveryPd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let landlock = &self.landlock;
        writeln!(f, "Every PD")?;
        writeln!(f, "  namespaces of its own: {}", self.namespaces.join(", "))?;
        writeln!(f, "  files: none; its root held the image while that was loaded, read-only")?;
        writeln!(f, "  capabilities: none, and none to be had (no_new_privs, locked securebits)")?;
        writeln!(f, "  Landlock, ABI {}, on this host", landlock.abi)?;
        paragraph(f, 4, 2, &format!("denied: {}", landlock.denied.join(", ")))?;
        let loading = landlock.allowed_while_loading.join(", ");
        paragraph(f, 4, 2, &format!("but {loading}, for its own image, until that is loaded"))?;
        filter(f, "system calls", &self.running, "is a fault")?;
        let before = "system calls before that, while trusted code loads the image and seals the process";
        filter(f, before, &self.loading, "is a failed start")
    }
}

fn filter(
    f: &mut std::fmt::Formatter<'_>,
    title: &str,
    policy: &Policy,
    otherwise: &str,
) -> std::fmt::Result {
    writeln!(f, "  {title}")?;
    for rule in &policy.rules {
        paragraph(f, 4, 2, &format!("{}{rule}", mark(rule)))?;
        paragraph(f, 8, 0, &rule.reason)?;
    }
    let ends = match policy.otherwise {
        Otherwise::Trap => "",
        Otherwise::KillProcess => ", and the end of the process",
    };
    writeln!(f, "    every other system call {otherwise}{ends}")
}

/// Column that lines of prose stay within.
const WIDTH: usize = 100;

/// Words on lines within [`WIDTH`] where a word allows it: the first begins at `indent`, the others `hang` further right.
fn paragraph(f: &mut std::fmt::Formatter<'_>, indent: usize, hang: usize, text: &str) -> std::fmt::Result {
    let mut column = 0;
    for word in text.split(' ') {
        let length = word.chars().count();
        if column == 0 {
            write!(f, "{:indent$}{word}", "")?;
            column = indent + length;
        } else if column + 1 + length <= WIDTH {
            write!(f, " {word}")?;
            column += 1 + length;
        } else {
            column = indent + hang;
            write!(f, "\n{:column$}{word}", "")?;
            column += length;
        }
    }
    writeln!(f)
}

/// So that what is only answered does not look granted.
fn mark(rule: &Rule) -> &'static str {
    match rule.answer {
        Answer::Allow => "",
        Answer::Errno(_) => "not made: ",
    }
}

fn none_if(empty: bool) -> &'static str {
    if empty { ": none" } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_namespace_of_a_pd_has_a_name() {
        let named = NAMESPACE_KINDS.iter().fold(0, |bits, (bit, _)| bits | bit);
        assert_eq!(clone::NAMESPACES & !named, 0);
    }

    #[test]
    fn sizes_are_whole() {
        let written = [4096, 0x5000, 1 << 20, 3 << 20, 1 << 30, 100].map(bytes);
        assert_eq!(written, ["4 KiB", "20 KiB", "1 MiB", "3 MiB", "1 GiB", "100 bytes"]);
    }
}
