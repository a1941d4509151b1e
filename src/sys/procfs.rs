//! What the kernel says of a process in /proc, read from outside (proc(5)).

#![forbid(unsafe_code)]

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;
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

/// Files of /proc about a process that this one traces, opened once: a launcher that has confined itself can open none. What they
/// tell is the kernel's word all the same, and they stay tied to that process.
#[derive(Debug)]
struct Kept {
    memory: File,
    maps: File,
    status: File,
    /// Read once: no mapping of a sealed process changes.
    mappings: OnceCell<Vec<Mapping>>,
}

static KEPT: Mutex<BTreeMap<i32, Kept>> = Mutex::new(BTreeMap::new());

fn kept() -> MutexGuard<'static, BTreeMap<i32, Kept>> {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}

fn with_kept<T>(pid: Pid, look: impl FnOnce(&Kept) -> io::Result<T>) -> io::Result<T> {
    let unknown = || io::Error::from_raw_os_error(Errno::ESRCH as i32);
    kept().get(&pid.as_raw()).ok_or_else(unknown).and_then(look)
}

/// Opens the memory, the list of mappings and the status of a process that has made all its mappings.
pub fn open(pid: Pid) -> io::Result<[File; 3]> {
    Ok([
        File::options().read(true).write(true).open(format!("/proc/{pid}/mem"))?,
        File::open(format!("/proc/{pid}/maps"))?,
        File::open(format!("/proc/{pid}/status"))?,
    ])
}

/// From here on the functions of this module know the process, by what [`open`] has given.
pub fn keep(pid: Pid, [memory, maps, status]: [File; 3]) {
    kept().insert(pid.as_raw(), Kept { memory, maps, status, mappings: OnceCell::new() });
}

/// Closes them.
pub fn forget(pid: Pid) {
    kept().remove(&pid.as_raw());
}

fn read_maps(kept: &Kept) -> io::Result<Vec<Mapping>> {
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match kept.maps.read_at(&mut buffer, text.len() as u64)? {
            0 => return Ok(parse_maps(&String::from_utf8_lossy(&text))),
            count => text.extend_from_slice(&buffer[..count]),
        }
    }
}

/// The mappings of a process.
pub fn maps(pid: Pid) -> io::Result<Vec<Mapping>> {
    with_kept(pid, read_maps)
}

/// True when every byte of the range is mapped with this right: a letter of [`Mapping::rights`].
pub fn has_right(pid: Pid, address: u64, length: u64, right: char) -> bool {
    let covered = with_kept(pid, |kept| {
        if kept.mappings.get().is_none() {
            let _ = kept.mappings.set(read_maps(kept)?);
        }
        let maps = kept.mappings.get().map_or(&[][..], Vec::as_slice);
        Ok(covers(maps, address, length, right))
    });
    covered.unwrap_or(false)
}

fn covers(maps: &[Mapping], address: u64, length: u64, right: char) -> bool {
    let Some(end) = address.checked_add(length) else { return false };
    let mut at = address;
    while at < end {
        let here = maps.iter().find(|map| (map.start..map.end).contains(&at) && map.rights.contains(right));
        let Some(here) = here else { return false };
        at = here.end;
    }
    true
}

/// Bytes of a process's memory from `address` on, as many as are mapped, whatever their rights.
pub fn read_some(pid: Pid, address: u64, bytes: &mut [u8]) -> usize {
    with_kept(pid, |kept| kept.memory.read_at(bytes, address)).unwrap_or(0)
}

/// Writes bytes of a process's memory, whatever their rights; returns how many.
pub fn write_some(pid: Pid, address: u64, bytes: &[u8]) -> usize {
    with_kept(pid, |kept| kept.memory.write_at(bytes, address)).unwrap_or(0)
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
    with_kept(pid, |kept| Ok(asleep(&kept.status).is_some())).unwrap_or(false)
}

/// True when a process is stopped, by its tracer or by a signal; not when it has been killed while it was.
pub fn is_stopped(pid: Pid) -> bool {
    let state =
        |kept: &Kept| Ok(read_at_start(&kept.status).is_some_and(|text| is_in_state(&text, &['t', 'T'])));
    with_kept(pid, state).unwrap_or(false)
}

fn is_in_state(status: &str, states: &[char]) -> bool {
    status
        .lines()
        .find_map(|line| line.strip_prefix("State:"))
        .is_some_and(|state| state.trim().starts_with(states))
}

/// The file that tells whether a process sleeps, kept open so that looking is cheap.
#[derive(Debug)]
pub struct Sleeper(File);

/// A process seen asleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asleep {
    /// How often it has gone to sleep: equal at two looks means that it did not run in between.
    pub switches: u64,
}

impl Sleeper {
    /// For a process whose files are kept.
    pub fn open(pid: Pid) -> io::Result<Self> {
        with_kept(pid, |kept| kept.status.try_clone()).map(Self)
    }

    /// `None` while it runs, or is stopped or gone.
    pub fn look(&self) -> Option<Asleep> {
        asleep(&self.0)
    }
}

/// The kernel writes the state before the counts: a process that runs on in between has one more when it sleeps again.
fn asleep(status: &File) -> Option<Asleep> {
    let text = read_at_start(status)?;
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let count = |name: &str| field(name)?.parse::<u64>().ok();
    // Whoever has been killed may sleep on its way out: uninterruptibly, or without memory.
    field("VmSize:").filter(|_| is_in_state(&text, &['S']))?;
    Some(Asleep { switches: count("voluntary_ctxt_switches:")? + count("nonvoluntary_ctxt_switches:")? })
}

fn read_at_start(file: &File) -> Option<String> {
    let mut bytes = [0; 4096];
    let count = file.read_at(&mut bytes, 0).ok()?;
    String::from_utf8(bytes[..count].to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::{covers, parse_maps};

    #[test]
    fn a_range_is_covered_by_adjacent_mappings_with_the_right() {
        let maps = parse_maps("1000-2000 rw-p 0 0:0 0\n2000-3000 r--p 0 0:0 0\n4000-5000 rw-p 0 0:0 0\n");
        assert!(covers(&maps, 0x1000, 0x2000, 'r') && covers(&maps, 0x1ff8, 0x10, 'r'));
        assert!(!covers(&maps, 0x1ff8, 0x10, 'w') && covers(&maps, 0x1ff8, 8, 'w'));
        assert!(!covers(&maps, 0x2ff8, 0x10, 'r') && !covers(&maps, 0xff8, 0x10, 'r'));
        assert!(!covers(&maps, u64::MAX - 7, 8, 'r') && !covers(&maps, u64::MAX - 7, 16, 'r'));
    }
}
