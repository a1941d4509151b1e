//! Memory without a file: memfds, their seals, and read-only descriptors of them (memfd_create(2), F_ADD_SEALS(2const)).

#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::fd::{AsRawFd, OwnedFd};

use memfd::{FileSeal, Memfd};
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use nix::sys::memfd::{MFdFlags, memfd_create};

/// A memfd of `size` bytes that can neither grow nor shrink. It can still be written.
pub fn fixed_size(name: &str, size: u64) -> io::Result<File> {
    let file = create(name)?;
    file.set_len(size)?;
    seal(file, &[FileSeal::SealGrow, FileSeal::SealShrink, FileSeal::SealSeal])
}

/// The same in pages of 2 MiB, all of them taken from the host's pool now; `None` when the pool has not enough (vm.nr_hugepages). `size` is a
/// multiple of 2 MiB. Such memory can be mapped, but not written through the descriptor.
pub fn fixed_size_huge(name: &str, size: u64) -> io::Result<Option<File>> {
    let huge = MFdFlags::MFD_HUGETLB | MFdFlags::MFD_HUGE_2MB;
    let Ok(file) = create_with(name, huge) else { return Ok(None) };
    file.set_len(size)?;
    let length = i64::try_from(size).map_err(io::Error::other)?;
    if fallocate(&file, FallocateFlags::empty(), 0, length).is_err() {
        return Ok(None);
    }
    seal(file, &[FileSeal::SealGrow, FileSeal::SealShrink, FileSeal::SealSeal]).map(Some)
}

/// A memfd that holds `bytes` and never changes again.
pub fn constant(name: &str, bytes: &[u8]) -> io::Result<File> {
    let mut file = create(name)?;
    file.write_all(bytes)?;
    // Whoever is handed the descriptor reads from the start.
    file.rewind()?;
    seal(file, &[FileSeal::SealGrow, FileSeal::SealShrink, FileSeal::SealWrite, FileSeal::SealSeal])
}

/// A second description of the same memory that cannot be written through: a mapping made from it can never be made
/// writable by mprotect(2). Needs procfs.
pub fn read_only(file: &File) -> io::Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok(File::open(path)?.into())
}

/// Nobody can exec it, nor make it executable as a file (F_SEAL_EXEC). Mapping it executable is another matter: that is for those who
/// map it to decide, and for the PD's policy to deny.
fn create(name: &str) -> io::Result<File> {
    create_with(name, MFdFlags::empty())
}

fn create_with(name: &str, more: MFdFlags) -> io::Result<File> {
    // The kernel prefixes the name with `memfd:` and shows it in /proc/PID/maps; 249 bytes is its limit.
    let name: String = name.chars().filter(|c| *c != '\0').take(60).collect();
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING | more;
    let no_exec = MFdFlags::from_bits_retain(libc::MFD_NOEXEC_SEAL);
    let fd = match memfd_create(name.as_str(), flags | no_exec) {
        // Linux before 6.3 does not know the flag; tier `full` has asked for it before anything is created.
        Err(Errno::EINVAL) => memfd_create(name.as_str(), flags)?,
        other => other?,
    };
    Ok(fd.into())
}

fn seal(file: File, seals: &[FileSeal]) -> io::Result<File> {
    let memfd = Memfd::try_from_file(file)
        .map_err(|_| io::Error::other("the kernel does not take it for a memfd"))?;
    memfd.add_seals(seals).map_err(io::Error::other)?;
    Ok(memfd.into_file())
}
