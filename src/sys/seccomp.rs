//! Installing a compiled filter (seccomp(2)).

use nix::errno::Errno;

use super::check;

/// One BPF instruction as the 8 bytes of `struct sock_filter`, little-endian: code, jt, jf, k.
pub type Instruction = u64;

/// Puts `program` in force for this process, in addition to those already there. Needs no_new_privs.
pub fn install(program: &[Instruction]) -> Result<(), Errno> {
    if program.is_empty() {
        return Err(Errno::EINVAL);
    }
    let length = u16::try_from(program.len()).map_err(|_| Errno::E2BIG)?;
    let filter = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut().cast() };
    // SAFETY: on a little-endian machine a u64 laid out as above has the bytes and the alignment of sock_filter; the kernel copies
    // the program and does not write it.
    check(unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const filter) })
        .map(drop)
}
