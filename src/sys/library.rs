//! Shared objects in the PD host: loading them, where they lie, and the jump that ends the host (dlopen(3), dlinfo(3)).

use std::error::Error as _;
use std::ffi::c_void;
use std::path::Path;

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};

use super::abi::Handoff;

/// A shared object that stays for the life of the process.
#[derive(Debug)]
pub struct Loaded {
    handle: *mut c_void,
}

/// Loads a shared object with all symbols bound at once and none of them visible to others. The error is the dynamic linker's word,
/// fit for a terminal and for one report.
///
/// # Safety
/// The object's own initialisers and IFUNC resolvers run: it must be trusted or have none.
pub unsafe fn load(path: &Path) -> Result<Loaded, String> {
    // SAFETY: passed on to the caller.
    let library =
        unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) }.map_err(|error| words(&error))?;
    Ok(Loaded { handle: library.into_raw() })
}

/// Characters of the longest reason that is told: it may hold a name from the object, of any length.
const REASON_MAX: usize = 500;

fn words(error: &libloading::Error) -> String {
    let text = error.source().map_or_else(|| error.to_string(), ToString::to_string);
    let shown = text.chars().take(REASON_MAX);
    shown.map(|character| if character.is_control() { '\u{fffd}' } else { character }).collect()
}

impl Loaded {
    /// What the dynamic linker added to the object's own addresses.
    pub fn base(&self) -> Option<u64> {
        /// The head of `struct link_map` (link.h).
        #[repr(C)]
        struct LinkMap {
            base: u64,
        }
        const RTLD_DI_LINKMAP: libc::c_int = 2;
        let mut map: *const LinkMap = std::ptr::null();
        unsafe extern "C" {
            fn dlinfo(handle: *mut c_void, request: libc::c_int, info: *mut c_void) -> libc::c_int;
        }
        // SAFETY: RTLD_DI_LINKMAP stores a pointer to the object's link map, which lives as long as the object.
        unsafe {
            (dlinfo(self.handle, RTLD_DI_LINKMAP, (&raw mut map).cast()) == 0 && !map.is_null())
                .then(|| (*map).base)
        }
    }

    /// Address of an exported symbol.
    pub fn symbol(&self, name: &str) -> Option<u64> {
        // SAFETY: the handle came from `Library::into_raw` and is not closed; the Library made here is turned back.
        let library = unsafe { Library::from_raw(self.handle) };
        // SAFETY: the symbol is only turned into an address.
        let address = unsafe { library.get::<*mut c_void>(name) }
            .map(|symbol| symbol.into_raw() as u64)
            .ok()
            .filter(|address| *address != 0);
        let _ = library.into_raw();
        address
    }
}

/// Leaves the host for good: calls `entry` with the handoff on the stack that ends at `stack_top`.
///
/// # Safety
/// `entry` is libmicrokit's mk_start, which does not return; `stack_top` is the 16-byte-aligned end of writable memory; `handoff` is
/// the address of a filled-in handoff.
pub unsafe fn enter(entry: u64, handoff: *const Handoff, stack_top: u64) -> ! {
    // SAFETY: the psABI wants rsp + 8 divisible by 16 at a function's first instruction, which the call ensures; rbp 0 ends the chain
    // of frames for debuggers.
    unsafe {
        std::arch::asm!(
            "mov rsp, {stack}",
            "xor ebp, ebp",
            "call {entry}",
            "ud2",
            stack = in(reg) stack_top,
            entry = in(reg) entry,
            in("rdi") handoff,
            options(noreturn)
        )
    }
}
