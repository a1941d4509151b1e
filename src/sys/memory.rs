//! Mappings of the PD host: at fixed addresses, with guards, sealed (mmap(2), mprotect(2), mseal(2)).

use std::num::NonZero;
use std::os::fd::{BorrowedFd, RawFd};
use std::ptr::NonNull;

use nix::errno::Errno;
use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap, mmap_anonymous, mprotect, munmap};

use super::check;

/// Bytes of a page.
pub const PAGE: usize = 0x1000;

/// Maps `size` bytes of `fd` shared at exactly `address`. EEXIST: something is there already (MAP_FIXED_NOREPLACE).
pub fn map_shared_at(
    address: u64,
    size: u64,
    rights: ProtFlags,
    fd: RawFd,
    offset: u64,
) -> Result<(), Errno> {
    let (address, size) = (nonzero(address)?, nonzero(size)?);
    let flags = MapFlags::MAP_SHARED | MapFlags::MAP_FIXED_NOREPLACE;
    // SAFETY: MAP_FIXED_NOREPLACE never replaces a mapping, so no memory that Rust uses changes under it; a number that is no
    // open descriptor is EBADF.
    let got = unsafe { mmap(Some(address), size, rights, flags, BorrowedFd::borrow_raw(fd), offset as i64)? };
    placed(got, address)
}

/// Reserves inaccessible memory at exactly `address`.
pub fn guard_at(address: u64, size: u64) -> Result<(), Errno> {
    let (address, size) = (nonzero(address)?, nonzero(size)?);
    let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_FIXED_NOREPLACE | MapFlags::MAP_NORESERVE;
    // SAFETY: as in `map_shared_at`.
    let got = unsafe { mmap_anonymous(Some(address), size, ProtFlags::PROT_NONE, flags)? };
    placed(got, address)
}

/// A kernel before 4.17 takes the address for a hint.
fn placed(got: NonNull<libc::c_void>, wanted: NonZero<usize>) -> Result<(), Errno> {
    if got.as_ptr() as usize == wanted.get() { Ok(()) } else { Err(Errno::EEXIST) }
}

/// Maps `size` bytes of `fd` shared where the kernel likes, and returns the address.
pub fn map_shared(size: u64, rights: ProtFlags, fd: RawFd, offset: u64) -> Result<u64, Errno> {
    // SAFETY: without MAP_FIXED the kernel picks free addresses.
    let got = unsafe {
        mmap(None, nonzero(size)?, rights, MapFlags::MAP_SHARED, BorrowedFd::borrow_raw(fd), offset as i64)?
    };
    Ok(got.as_ptr() as u64)
}

/// Private zeroed memory of `size` bytes with an inaccessible page before and behind; returns the first usable address.
pub fn private_with_guards(size: u64) -> Result<u64, Errno> {
    let whole = size.checked_add(2 * PAGE as u64).ok_or(Errno::ENOMEM)?;
    let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_NORESERVE;
    // SAFETY: the kernel picks free addresses.
    let base = unsafe { mmap_anonymous(None, nonzero(whole)?, ProtFlags::PROT_NONE, flags)? };
    // SAFETY: base + PAGE and `size` bytes from there lie inside the mapping just made.
    unsafe {
        let inner = base.byte_add(PAGE);
        mprotect(inner, size as usize, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE)?;
        // Stacks are small and huge pages would make one cost 2 MiB.
        let _ = madvise(inner, size as usize, MmapAdvise::MADV_NOHUGEPAGE);
        Ok(inner.as_ptr() as u64)
    }
}

/// Memory of [`private_with_guards`] that goes when this does.
#[derive(Debug)]
pub struct Stack {
    bottom: u64,
    size: u64,
}

impl Stack {
    /// `size` bytes, a multiple of [`PAGE`].
    pub fn new(size: u64) -> Result<Self, Errno> {
        Ok(Self { bottom: private_with_guards(size)?, size })
    }

    /// Its lowest address.
    pub fn bottom(&self) -> u64 {
        self.bottom
    }

    /// Bytes.
    pub fn size(&self) -> u64 {
        self.size
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        let guard = PAGE as u64;
        if let Some(base) = NonNull::new((self.bottom - guard) as *mut libc::c_void) {
            // SAFETY: the mapping made for it, with its guards; no reference into it was ever given.
            let _ = unsafe { munmap(base, (self.size + 2 * guard) as usize) };
        }
    }
}

/// Changes the rights of a mapping this process made itself.
///
/// # Safety
/// Nothing that Rust still uses lies in the range, unless the new rights allow that use.
pub unsafe fn protect(address: u64, size: u64, rights: ProtFlags) -> Result<(), Errno> {
    let address = NonNull::new(address as *mut libc::c_void).ok_or(Errno::EINVAL)?;
    // SAFETY: passed on to the caller.
    unsafe { mprotect(address, size as usize, rights) }
}

/// Seals a range for the life of the process: its rights and its place cannot change, nor can it be unmapped (Linux 6.10).
pub fn seal(start: u64, end: u64) -> Result<(), Errno> {
    /// mseal in the x86-64 table of Linux 6.10.
    const SYS_MSEAL: libc::c_long = 462;
    // SAFETY: mseal(2) only takes rights away.
    check(unsafe { libc::syscall(SYS_MSEAL, start, end - start, 0) }).map(drop)
}

/// Memory-deny-write-execute: no mapping of this process becomes executable any more, and none is born both writable and
/// executable (PR_SET_MDWE, Linux 6.3). ENOTSUP: the kernel says yes and lets one become executable all the same.
pub fn deny_write_execute() -> Result<(), Errno> {
    const PR_SET_MDWE: libc::c_int = 65;
    const PR_MDWE_REFUSE_EXEC_GAIN: libc::c_ulong = 1;
    // SAFETY: PR_SET_MDWE takes numbers.
    check(unsafe { libc::prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0) } as _)?;
    let rights = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    // SAFETY: a new page where the kernel likes, of which nobody knows; it goes again.
    unsafe {
        let page = mmap_anonymous(None, nonzero(PAGE as u64)?, rights, MapFlags::MAP_PRIVATE)?;
        let gained = mprotect(page, PAGE, ProtFlags::PROT_READ | ProtFlags::PROT_EXEC);
        munmap(page, PAGE)?;
        if gained.is_ok() { Err(Errno::ENOTSUP) } else { Ok(()) }
    }
}

/// Whether the kernel holds to the seal of a page whose rights are to read.
pub fn is_sealed(address: u64) -> bool {
    // SAFETY: at most, the page gets the rights it has.
    let changed = unsafe { protect(address, PAGE as u64, ProtFlags::PROT_READ) };
    changed == Err(Errno::EPERM)
}

/// Gives malloc `size` bytes it can hand out and makes it never ask the kernel for others but by brk and the one shape of
/// mmap that the final filter answers with "no memory".
pub fn fix_heap(size: usize) -> Result<(), Errno> {
    // SAFETY: mallopt(3) takes numbers. The big allocation makes the main arena's top that large; freeing it leaves it there,
    // since trimming is off.
    unsafe {
        for (option, value) in [
            (libc::M_MMAP_MAX, 0),
            (libc::M_ARENA_MAX, 1),
            (libc::M_TRIM_THRESHOLD, libc::c_int::MAX),
            (libc::M_TOP_PAD, 0),
        ] {
            if libc::mallopt(option, value) != 1 {
                return Err(Errno::EINVAL);
            }
        }
        let all = libc::malloc(size);
        if all.is_null() {
            return Err(Errno::ENOMEM);
        }
        libc::free(std::hint::black_box(all));
    }
    Ok(())
}

/// Makes the C library's standard output write whole lines at once, from a buffer settled now: choosing one later would need
/// fstat. Standard error writes at once.
pub fn fix_stdio() -> Result<(), Errno> {
    const BUFFER: usize = 1024;
    unsafe extern "C" {
        static stdout: *mut libc::FILE;
        static stderr: *mut libc::FILE;
    }
    // SAFETY: setvbuf(3) before any other operation on the streams; the buffer is never freed.
    let failed = unsafe {
        let buffer = libc::malloc(BUFFER).cast();
        libc::setvbuf(stdout, buffer, libc::_IOLBF, BUFFER) != 0
            || libc::setvbuf(stderr, std::ptr::null_mut(), libc::_IONBF, 0) != 0
    };
    if failed { Err(Errno::EINVAL) } else { Ok(()) }
}

/// Copies `bytes` to `address`.
///
/// # Safety
/// The range is writable and holds nothing that Rust knows of.
pub unsafe fn write(address: u64, bytes: &[u8]) {
    // SAFETY: passed on to the caller.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), address as *mut u8, bytes.len()) };
}

fn nonzero(value: u64) -> Result<NonZero<usize>, Errno> {
    usize::try_from(value).ok().and_then(NonZero::new).ok_or(Errno::EINVAL)
}
