//! Memory of a PD named in a launcher call, with the PD's own rights: what the PD cannot read or write itself is an error here.
//! /proc/PID/mem does not look at rights, so they are looked at before; a sealed PD's never change.

#![forbid(unsafe_code)]

use nix::errno::Errno;
use nix::unistd::Pid;

use super::procfs;

/// Reads words; all or nothing.
pub fn read(pid: Pid, address: u64, count: usize) -> Result<Vec<u64>, Errno> {
    if count == 0 {
        return Ok(Vec::new());
    }
    if !procfs::has_right(pid, address, 8 * count as u64, 'r') {
        return Err(Errno::EFAULT);
    }
    let words = procfs::read_words(pid, address, count);
    if words.len() == count { Ok(words) } else { Err(Errno::EFAULT) }
}

/// Writes words; all or nothing for ranges inside one mapping.
pub fn write(pid: Pid, address: u64, words: &[u64]) -> Result<(), Errno> {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    if !procfs::has_right(pid, address, bytes.len() as u64, 'w') {
        return Err(Errno::EFAULT);
    }
    if procfs::write_some(pid, address, &bytes) == bytes.len() { Ok(()) } else { Err(Errno::EFAULT) }
}
