//! Memory of a PD named in a launcher call, with the PD's own rights: what the PD cannot read or write itself is an error here
//! (process_vm_readv(2) honours the pages' protection, /proc/PID/mem does not).

#![forbid(unsafe_code)]

use std::io::{IoSlice, IoSliceMut};

use nix::errno::Errno;
use nix::sys::uio::{RemoteIoVec, process_vm_readv, process_vm_writev};
use nix::unistd::Pid;

/// Reads words; all or nothing.
pub fn read(pid: Pid, address: u64, count: usize) -> Result<Vec<u64>, Errno> {
    let mut bytes = vec![0; count * 8];
    if count == 0 {
        return Ok(Vec::new());
    }
    let length = bytes.len();
    let remote = [RemoteIoVec { base: address as usize, len: length }];
    let read = process_vm_readv(pid, &mut [IoSliceMut::new(&mut bytes)], &remote)?;
    if read != length {
        return Err(Errno::EFAULT);
    }
    Ok(bytes.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().unwrap_or_default())).collect())
}

/// Writes words; all or nothing for ranges inside one mapping.
pub fn write(pid: Pid, address: u64, words: &[u64]) -> Result<(), Errno> {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let remote = [RemoteIoVec { base: address as usize, len: bytes.len() }];
    let written = process_vm_writev(pid, &[IoSlice::new(&bytes)], &remote)?;
    if written == bytes.len() { Ok(()) } else { Err(Errno::EFAULT) }
}
