//! A fault of a PD: what it did, where, and why it may not, from the kernel's record of the stop and the plan.

#![forbid(unsafe_code)]

use std::fmt::Write as _;

use nix::unistd::Pid;

use super::decode;
use super::explain::{self, DeniedCall};
use crate::image::Image;
use crate::pd::Layout;
use crate::plan::{MapPlan, PAGE, PdPlan, Plan};
use crate::sdf::PdIndex;
use crate::sys::procfs::{self, Mapping};
use crate::sys::trace::{Registers, SignalInfo};

/// What a PD did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Memory that is not there, or not for this use. seL4: VMFault.
    Memory {
        /// The address.
        address: u64,
        /// What it tried.
        access: Access,
        /// Something is mapped there, but not for this use.
        present: bool,
    },
    /// A system call outside its policy. seL4: UnknownSyscall.
    Syscall {
        /// x86-64 number.
        number: i64,
        /// Its six arguments.
        arguments: [u64; 6],
    },
    /// An illegal instruction, a division by zero, a general protection fault. seL4: UserException.
    Exception {
        /// The signal.
        signal: i32,
        /// The processor's exception number (Intel manual, vol. 3, 6.3.1).
        vector: u8,
    },
    /// A breakpoint. seL4: DebugException.
    Breakpoint,
    /// Its process was ended, which no PD can do itself: from outside, or a system call by another architecture's gate.
    Ended {
        /// The signal, or `None` when it exited.
        signal: Option<i32>,
    },
}

/// How memory was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Executed.
    Execute,
    /// Written, or read and written.
    Write,
    /// Read.
    Read,
}

/// A fault, ready to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Whose.
    pub pd: PdIndex,
    /// What.
    pub kind: Kind,
    /// Instruction and stack pointer.
    pub registers: Option<(u64, u64)>,
    /// `symbol+0x12 in file`, and the caller in the image when the instruction is in a library.
    pub place: String,
    /// Why that is not allowed, or what probably happened.
    pub reason: String,
    /// More of a system call.
    pub call: Option<DeniedCall>,
}

impl Fault {
    /// The PD's process is gone; otherwise it is stopped.
    pub fn is_end(&self) -> bool {
        matches!(self.kind, Kind::Ended { .. })
    }
}

/// Reads a fault off a stopped PD.
pub fn of_stop(
    plan: &Plan,
    pd: &PdPlan,
    image: (&Image, &str),
    layout: Layout,
    pid: Pid,
    info: SignalInfo,
    registers: &Registers,
) -> Fault {
    let maps = procfs::maps(pid).unwrap_or_default();
    let kind = kind(pid, info, registers, &maps);
    let code = Code { maps: &maps, image: image.0, name: image.1, layout };
    let call = match &kind {
        Kind::Syscall { number, arguments } => Some(explain::denied(pid, *number, arguments)),
        _ => None,
    };
    Fault {
        pd: pd.index,
        place: place(&code, pid, registers),
        reason: call.as_ref().map_or_else(|| reason(plan, pd, layout, &kind), |call| call.why.into()),
        call,
        registers: Some((registers.rip, registers.rsp)),
        kind,
    }
}

/// A PD whose process is gone.
pub fn of_end(pd: PdIndex, signal: Option<i32>) -> Fault {
    let reason = match signal {
        Some(libc::SIGSYS) => "a system call through another architecture's gate",
        Some(_) => "ended from outside",
        None => "its process exited",
    };
    Fault {
        pd,
        kind: Kind::Ended { signal },
        registers: None,
        place: String::new(),
        reason: reason.into(),
        call: None,
    }
}

fn kind(pid: Pid, info: SignalInfo, registers: &Registers, maps: &[Mapping]) -> Kind {
    /// si_code of a SIGSEGV that has no address, as a general protection fault (asm-generic/siginfo.h).
    const SI_KERNEL: i32 = 0x80;
    /// si_code of a SIGFPE for a division by zero.
    const FPE_INTDIV: i32 = 1;
    /// si_code of a SIGSEGV where something is mapped.
    const SEGV_ACCERR: i32 = 2;
    match info.signal {
        libc::SIGSYS => Kind::Syscall {
            number: info.syscall.map_or(-1, |(number, _)| number.into()),
            arguments: [
                registers.rdi,
                registers.rsi,
                registers.rdx,
                registers.r10,
                registers.r8,
                registers.r9,
            ],
        },
        libc::SIGTRAP => Kind::Breakpoint,
        libc::SIGBUS if info.code == libc::BUS_ADRALN => Kind::Exception { signal: info.signal, vector: 17 },
        libc::SIGSEGV | libc::SIGBUS if info.code != SI_KERNEL => {
            let address = info.address;
            let mut code = [0; decode::LONGEST];
            let length = procfs::read_some(pid, registers.rip, &mut code);
            let access = if address == registers.rip {
                Access::Execute
            } else if decode::writes_memory(&code[..length], registers.rip) {
                Access::Write
            } else {
                Access::Read
            };
            // What is mapped without any right, as a guard is, is not there for the processor.
            let is_guard =
                |map: &Mapping| (map.start..map.end).contains(&address) && map.rights.starts_with("---");
            let present = info.code == SEGV_ACCERR && !maps.iter().any(is_guard);
            Kind::Memory { address, access, present }
        }
        libc::SIGFPE if info.code == FPE_INTDIV => Kind::Exception { signal: info.signal, vector: 0 },
        // The SSE exception: x87's would be 16, but compilers have not used it for decades.
        libc::SIGFPE => Kind::Exception { signal: info.signal, vector: 19 },
        libc::SIGILL => Kind::Exception { signal: info.signal, vector: 6 },
        signal => Kind::Exception { signal, vector: 13 },
    }
}

/// What is needed to name an address in a PD's code.
struct Code<'a> {
    maps: &'a [Mapping],
    image: &'a Image,
    name: &'a str,
    layout: Layout,
}

impl Code<'_> {
    /// `symbol+0x12 in file`, or `None` when there is no code.
    fn name(&self, address: u64) -> Option<String> {
        let map = self
            .maps
            .iter()
            .find(|map| (map.start..map.end).contains(&address) && map.rights.contains('x'))?;
        if self.is_image(map) {
            let offset = address - self.layout.image_base;
            return Some(match self.image.symbolize(offset) {
                Some((symbol, 0)) => format!("{symbol} in {}", self.name),
                Some((symbol, distance)) => format!("{symbol}+{distance:#x} in {}", self.name),
                None => format!("{offset:#x} in {}", self.name),
            });
        }
        let file = match map.name.rsplit('/').next().unwrap_or("") {
            name if name.starts_with("memfd:libmicrokit") => "libmicrokit.so",
            "" => return None,
            name => name.strip_suffix(" (deleted)").unwrap_or(name),
        };
        Some(format!("{:#x} in {file}", address - map.start + map.offset))
    }

    fn is_image(&self, map: &Mapping) -> bool {
        map.name.strip_prefix('/') == Some(self.name) && map.start >= self.layout.image_base
    }

    fn in_image(&self, address: u64) -> bool {
        self.maps.iter().any(|map| {
            (map.start..map.end).contains(&address) && map.rights.contains('x') && self.is_image(map)
        })
    }
}

/// Words of the stack looked at for a return address into the image.
const STACK_WORDS: usize = 512;

fn place(code: &Code, pid: Pid, registers: &Registers) -> String {
    let mut text =
        code.name(registers.rip).unwrap_or_else(|| format!("{:#x}, where no code is", registers.rip));
    if !code.in_image(registers.rip) {
        // Frames of libraries need no frame pointer, so this takes the first word on the stack that points behind a
        // call in the image. The stack is the PD's: a hostile one can only mislead whoever reads about itself.
        let stack = procfs::read_words(pid, registers.rsp, STACK_WORDS);
        // The byte before it is still the call's: behind a call that does not return, another function may begin.
        let calls = stack
            .into_iter()
            .filter(|word| code.in_image(word.wrapping_sub(1)) && is_behind_call(pid, *word));
        let caller = calls.map(|word| word - 1).next();
        if let Some(name) = caller.and_then(|caller| code.name(caller)) {
            let _ = write!(text, ", called from {name}");
        }
    }
    text
}

/// Whether a call instruction ends at this address (Intel SDM volume 2, CALL): E8 with four bytes, or FF /2 with its operand.
fn is_behind_call(pid: Pid, address: u64) -> bool {
    let [before] = procfs::read_words(pid, address.wrapping_sub(8), 1)[..] else { return false };
    let bytes = before.to_le_bytes();
    let is_indirect = |length: usize| bytes[8 - length] == 0xff && bytes[9 - length] >> 3 & 7 == 2;
    bytes[3] == 0xe8 || [2, 3, 6, 7].into_iter().any(is_indirect)
}

fn reason(plan: &Plan, pd: &PdPlan, layout: Layout, kind: &Kind) -> String {
    match kind {
        Kind::Breakpoint => "a breakpoint instruction".into(),
        Kind::Exception { signal, .. } => match *signal {
            libc::SIGFPE => "an arithmetic exception, as a division by zero".into(),
            libc::SIGILL => "an illegal instruction, as __builtin_trap or ud2".into(),
            _ => "a general protection fault, as a privileged instruction or a non-canonical address".into(),
        },
        Kind::Ended { .. } | Kind::Syscall { .. } => String::new(),
        Kind::Memory { address, access, present } => {
            memory_reason(plan, pd, layout, *address, *access, *present)
        }
    }
}

fn memory_reason(
    plan: &Plan,
    pd: &PdPlan,
    layout: Layout,
    address: u64,
    access: Access,
    present: bool,
) -> String {
    let within = |map: &&MapPlan| (map.vaddr..map.end()).contains(&address);
    if let Some(map) = pd.maps.iter().find(within) {
        return format!("region `{}` is mapped {} here (+{:#x})", map.name, map.perms, address - map.vaddr);
    }
    if (layout.stack.saturating_sub(PAGE)..layout.stack).contains(&address) {
        return format!("stack overflow: the stack has {:#x} bytes (stack_size)", pd.stack_size);
    }
    if (layout.stack + pd.stack_size..layout.stack + pd.stack_size + PAGE).contains(&address) {
        return "just above the stack".into();
    }
    if let Some(map) = pd.maps.iter().find(|map| (map.end()..map.end() + PAGE).contains(&address)) {
        return format!("{:#x} bytes behind the end of region `{}`", address - map.end(), map.name);
    }
    if let Some(map) =
        pd.maps.iter().find(|map| (map.vaddr.saturating_sub(PAGE)..map.vaddr).contains(&address))
    {
        return format!("{:#x} bytes before region `{}`", map.vaddr - address, map.name);
    }
    if address < 0x1000 {
        return "a null pointer".into();
    }
    let elsewhere = plan.pds.iter().find_map(|other| Some((other, other.maps.iter().find(within)?)));
    if let Some((other, map)) = elsewhere {
        return format!("nothing is mapped here; in PD `{}` region `{}` is", other.name, map.name);
    }
    match access {
        Access::Execute => "no code is there".into(),
        Access::Write if present => "that memory is read-only".into(),
        Access::Write | Access::Read => "nothing the PD may use is mapped there".into(),
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.kind {
            Kind::Memory { address, access, .. } => {
                let what = match access {
                    Access::Execute => "execution of",
                    Access::Write => "write to",
                    Access::Read => "read of",
                };
                write!(f, "{what} {address:#x}")?;
            }
            Kind::Syscall { number, .. } => match &self.call {
                Some(call) => write!(f, "denied system call {}", call.shown)?,
                None => write!(f, "denied system call {number}")?,
            },
            Kind::Exception { signal, .. } => write!(f, "{}", crate::sys::trace::signal_name(*signal))?,
            Kind::Breakpoint => write!(f, "breakpoint")?,
            Kind::Ended { signal: Some(signal) } => {
                write!(f, "ended by {}", crate::sys::trace::signal_name(*signal))?;
            }
            Kind::Ended { signal: None } => write!(f, "ended")?,
        }
        if !self.reason.is_empty() {
            write!(f, ": {}", self.reason)?;
        }
        if let Some(call) = &self.call {
            write!(f, "\n  {}", call.rule)?;
            if let Some(instead) = call.instead {
                write!(f, "\n  instead: {instead}")?;
            }
        }
        if !self.place.is_empty() {
            write!(f, "\n  at {}", self.place)?;
        }
        if let Some((ip, sp)) = self.registers {
            write!(f, "\n  ip {ip:#x}, sp {sp:#x}")?;
        }
        Ok(())
    }
}
