//! System calls made here and not by the C library, which would write errno: for processes that share this one's memory without being one
//! of its threads.

use std::arch::asm;

use nix::errno::Errno;

/// # Safety
/// What the call does with its arguments must be sound.
pub(super) unsafe fn system_call(number: libc::c_long, arguments: [u64; 5]) -> Result<libc::c_long, Errno> {
    let [a, b, c, d, e] = arguments;
    let result;
    // SAFETY: the kernel's convention on x86-64: it changes rax, rcx, r11 and what the arguments point to (syscall(2)).
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number => result,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e,
            out("rcx") _, out("r11") _,
            options(nostack),
        );
    }
    of_kernel(result)
}

/// clone3(2) for a child that begins at `entry`, with `data`, on the stack that `args` names.
///
/// # Safety
/// `args` names such a stack, and `entry` may run there: with CLONE_VM beside this process, in its memory, and then it makes system calls
/// only.
pub(super) unsafe fn clone3(
    args: &libc::clone_args,
    entry: extern "C" fn(u64) -> !,
    data: u64,
) -> Result<libc::c_long, Errno> {
    let result;
    // SAFETY: clone3(2) returns twice. The parent goes on behind the block, with the registers as the constraints say. The child begins with
    // an empty stack and the parent's registers, calls `entry` as the psABI wants it (rsp divisible by 16 before the call) and never comes
    // back.
    unsafe {
        asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, {data}",
            "call {entry}",
            "ud2",
            "2:",
            data = in(reg) data,
            entry = in(reg) entry,
            inlateout("rax") libc::SYS_clone3 => result,
            in("rdi") std::ptr::from_ref(args),
            in("rsi") size_of::<libc::clone_args>(),
            out("rcx") _,
            out("r11") _,
        );
    }
    of_kernel(result)
}

/// The kernel returns errors as -4095 to -1.
fn of_kernel(result: libc::c_long) -> Result<libc::c_long, Errno> {
    if (-4095..0).contains(&result) { Err(Errno::from_raw(-result as i32)) } else { Ok(result) }
}
