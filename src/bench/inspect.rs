//! What a running system costs, as the kernel counts it (proc(5)).

#![forbid(unsafe_code)]

use std::fs;
use std::io;

/// Memory of a process in KiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Memory {
    /// Its share: a page that n processes map counts as 1/n.
    pub proportional: u64,
    /// All it has in RAM.
    pub resident: u64,
}

/// How much a process has run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ran {
    /// Ticks of CPU time, as the kernel bills them.
    pub ticks: u64,
    /// Times it was put on or taken off a CPU.
    pub switches: u64,
}

/// The children of a process.
pub(super) fn children(pid: u32) -> io::Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(child) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // A process may end while the directory is read.
        if stat(child).is_ok_and(|stat| stat.parent == pid) {
            found.push(child);
        }
    }
    Ok(found)
}

pub(super) fn memory(pid: u32) -> io::Result<Memory> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let field = |name| number_after(&text, name).ok_or_else(|| missing(name));
    Ok(Memory { proportional: field("Pss:")?, resident: field("Rss:")? })
}

pub(super) fn ran(pid: u32) -> io::Result<Ran> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field = |name| number_after(&text, name).ok_or_else(|| missing(name));
    let switches = field("\nvoluntary_ctxt_switches:")? + field("\nnonvoluntary_ctxt_switches:")?;
    Ok(Ran { ticks: stat(pid)?.ticks, switches })
}

struct Stat {
    parent: u32,
    ticks: u64,
}

fn stat(pid: u32) -> io::Result<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat"))?).ok_or_else(|| missing("its parent"))
}

/// The second field is the program's name in brackets, which may hold anything: the others follow its last bracket.
fn parse_stat(text: &str) -> Option<Stat> {
    let mut fields = text[text.rfind(')')? + 1..].split_whitespace();
    // proc_pid_stat(5): the fourth field is the parent, the 14th and 15th are utime and stime.
    let parent = fields.nth(1)?.parse().ok()?;
    let user: u64 = fields.nth(9)?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(Stat { parent, ticks: user + system })
}

fn number_after(text: &str, name: &str) -> Option<u64> {
    text[text.find(name)? + name.len()..].split_whitespace().next()?.parse().ok()
}

fn missing(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the kernel does not say {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_mislead() {
        let text = "7 (mk-pd:) 1 (x) S 42 7 7 0 -1 4194560 1 2 3 4 10 5 0 0 20 0 1 0 99 1 1";
        let stat = parse_stat(text).unwrap();
        assert_eq!((stat.parent, stat.ticks), (42, 15));
        assert!(parse_stat("7 (").is_none() && parse_stat("7 () S").is_none());
    }

    #[test]
    fn this_process_can_be_inspected() {
        let pid = std::process::id();
        let memory = memory(pid).unwrap();
        assert!(memory.proportional > 0 && memory.resident >= memory.proportional);
        assert!(ran(pid).is_ok());
        let parent = nix::unistd::getppid().as_raw() as u32;
        assert!(children(parent).unwrap().contains(&pid));
    }
}
