//! What the kernel says of a process in /proc, read from outside (proc(5)).

#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;

use nix::unistd::Pid;

/// One line of /proc/PID/maps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// First byte.
    pub start: u64,
    /// First byte behind it.
    pub end: u64,
    /// `rwxp` or `rwxs`.
    pub rights: String,
    /// Byte of the file it begins at.
    pub offset: u64,
    /// File, `[heap]`, or empty.
    pub name: String,
}

/// Reads the text of a maps file.
pub fn parse_maps(text: &str) -> Vec<Mapping> {
    text.lines().filter_map(parse_mapping).collect()
}

fn parse_mapping(line: &str) -> Option<Mapping> {
    let mut words = line.splitn(6, ' ');
    let (start, end) = words.next()?.split_once('-')?;
    let rights = words.next()?.to_owned();
    let offset = u64::from_str_radix(words.next()?, 16).ok()?;
    let (_device, _inode) = (words.next()?, words.next()?);
    Some(Mapping {
        start: u64::from_str_radix(start, 16).ok()?,
        end: u64::from_str_radix(end, 16).ok()?,
        rights,
        offset,
        name: words.next().unwrap_or("").trim_start().to_owned(),
    })
}

/// The mappings of a process.
pub fn maps(pid: Pid) -> io::Result<Vec<Mapping>> {
    Ok(parse_maps(&fs::read_to_string(format!("/proc/{pid}/maps"))?))
}

/// Bytes of a process's memory from `address` on, as many as are mapped.
pub fn read_some(pid: Pid, address: u64, bytes: &mut [u8]) -> usize {
    let memory = File::open(format!("/proc/{pid}/mem"));
    memory.and_then(|memory| memory.read_at(bytes, address)).unwrap_or(0)
}

/// Words of a process's memory from `address` on, as many as are mapped, at most `count`.
pub fn read_words(pid: Pid, address: u64, count: usize) -> Vec<u64> {
    let mut bytes = vec![0; count * 8];
    let read = read_some(pid, address, &mut bytes);
    bytes[..read]
        .chunks_exact(8)
        .map(|word| u64::from_le_bytes(word.try_into().unwrap_or_default()))
        .collect()
}

/// True when a process sleeps until something happens: it neither runs nor waits for a CPU.
pub fn is_asleep(pid: Pid) -> bool {
    state(pid) == Some('S')
}

/// True when a process is stopped, by its tracer or by a signal; not when it has been killed while it was.
pub fn is_stopped(pid: Pid) -> bool {
    matches!(state(pid), Some('t' | 'T'))
}

/// As /proc/PID/stat has it.
fn state(pid: Pid) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // "PID (NAME) STATE …", and a name may hold anything.
    stat.rsplit(')').next()?.trim_start().chars().next()
}

/// The files that tell whether a process sleeps in a system call, kept open so that looking is cheap.
#[derive(Debug)]
pub struct Sleeper {
    syscall: File,
    status: File,
}

/// A process seen asleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asleep {
    /// The call it sleeps in.
    pub syscall: u64,
    /// Its first argument.
    pub argument: u64,
    /// How often it has gone to sleep: equal at two looks means that it did not run in between.
    pub switches: u64,
}

impl Sleeper {
    /// Opens the files. The reader must be allowed to trace the process.
    pub fn open(pid: Pid) -> io::Result<Self> {
        Ok(Self {
            syscall: File::open(format!("/proc/{pid}/syscall"))?,
            status: File::open(format!("/proc/{pid}/status"))?,
        })
    }

    /// `None` while it runs, or is stopped or gone.
    pub fn look(&self) -> Option<Asleep> {
        let switches = self.switches()?;
        let text = read_at_start(&self.syscall)?;
        let mut words = text.split_whitespace();
        let syscall = words.next()?.parse().ok()?;
        let argument = u64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok()?;
        // Read before and after the call: a process that ran in between is not asleep.
        (self.switches()? == switches).then_some(Asleep { syscall, argument, switches })
    }

    fn switches(&self) -> Option<u64> {
        let text = read_at_start(&self.status)?;
        // Whoever has been killed may sleep on its way out, with the registers of the call that it was in: uninterruptibly, or without memory.
        let has = |start: &str| text.lines().any(|line| line.starts_with(start));
        if !has("State:\tS") || !has("VmSize:") {
            return None;
        }
        let count = |name: &str| -> Option<u64> {
            text.lines().find_map(|line| line.strip_prefix(name)).and_then(|rest| rest.trim().parse().ok())
        };
        Some(count("voluntary_ctxt_switches:")? + count("nonvoluntary_ctxt_switches:")?)
    }
}

fn read_at_start(file: &File) -> Option<String> {
    let mut bytes = [0; 4096];
    let count = file.read_at(&mut bytes, 0).ok()?;
    String::from_utf8(bytes[..count].to_vec()).ok()
}
