//! Why an image is refused, in words for its author: what is wrong, and what to do.

#![forbid(unsafe_code)]

/// An image that is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{image}: {problem}")]
pub struct ImageError {
    /// The image, as the caller names it.
    pub image: String,
    /// What is wrong with it.
    pub problem: Problem,
}

impl ImageError {
    /// What to do about it.
    pub fn hint(&self) -> String {
        self.problem.hint()
    }
}

/// What is wrong with an image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The first four bytes are not those of an ELF file.
    #[error("not an ELF file")]
    NotElf,
    /// Something lies past the file's end.
    #[error("cut short: {what} would end at byte {end:#x}, the file has {len:#x}")]
    Truncated {
        /// What lies there.
        what: &'static str,
        /// Where it would end; `u64::MAX` where that overflows.
        end: u64,
        /// Bytes in the file.
        len: u64,
    },
    /// Made for another machine, class, byte order or system.
    #[error("made for {0}, not for 64-bit x86-64 Linux")]
    OtherMachine(String),
    /// Another kind of ELF file.
    #[error("{0}, not a shared object")]
    NotSharedObject(Kind),
    /// The ELF header contradicts itself.
    #[error("damaged ELF header: {0}")]
    Header(&'static str),
    /// There is no PT_DYNAMIC, so nothing could be loaded or found.
    #[error("no dynamic section")]
    NoDynamicSection,
    /// A program header that the dynamic linker could stumble over.
    #[error("program header {index} ({kind}): {why}")]
    Segment {
        /// Index in the program header table.
        index: usize,
        /// PT_LOAD, PT_GNU_RELRO …
        kind: &'static str,
        /// What is wrong.
        why: &'static str,
    },
    /// A segment with both rights.
    #[error("program header {index}: a segment is writable and executable")]
    WritableAndExecutable {
        /// Index in the program header table.
        index: usize,
    },
    /// PT_GNU_STACK asks for it, or is absent, which means the same.
    #[error("asks for an executable stack ({})", if *.missing { "PT_GNU_STACK is missing" } else { "PT_GNU_STACK has the flag X" })]
    ExecutableStack {
        /// There is no PT_GNU_STACK.
        missing: bool,
    },
    /// DT_TEXTREL, DF_TEXTREL, or a relocation into a segment that is not writable.
    #[error("text relocations{}", .at.map(|at| format!(": a relocation writes to {at:#x}, which is read-only")).unwrap_or_default())]
    TextRelocations {
        /// The target, if a relocation shows it.
        at: Option<u64>,
    },
    /// A relocation that cannot be allowed.
    #[error("relocation at {offset:#x}: {why}")]
    Relocation {
        /// r_offset, the address it writes to.
        offset: u64,
        /// What is wrong.
        why: &'static str,
    },
    /// A relocation type that no linker puts into a shared object, or that needs what a PD has not.
    #[error("relocation at {offset:#x} has the type {kind}, which images may not have")]
    RelocationType {
        /// r_offset, the address it writes to.
        offset: u64,
        /// The number of psABI's table.
        kind: u32,
    },
    /// R_X86_64_COPY, which only executables have.
    #[error("copy relocation at {offset:#x}")]
    CopyRelocation {
        /// r_offset, the address it writes to.
        offset: u64,
    },
    /// An IRELATIVE relocation or a symbol of type STT_GNU_IFUNC.
    #[error("indirect function{}", .symbol.as_ref().map(|name| format!(" `{name}`")).unwrap_or_default())]
    IndirectFunction {
        /// The symbol; an IRELATIVE relocation has none.
        symbol: Option<String>,
    },
    /// DT_RPATH or DT_RUNPATH.
    #[error("has a library search path ({tag})")]
    SearchPath {
        /// DT_RPATH or DT_RUNPATH.
        tag: &'static str,
    },
    /// DT_NEEDED with a name that is not allowed.
    #[error("needs the library `{0}`, which PDs do not get")]
    ForeignLibrary(String),
    /// DT_AUDIT, DT_DEPAUDIT, DT_FILTER, DT_AUXILIARY.
    #[error("has {0}, which makes the dynamic linker load other code")]
    LoadsOthers(&'static str),
    /// An entry of the dynamic section that contradicts others or the segments.
    #[error("dynamic section: {tag} {why}")]
    Dynamic {
        /// DT_SYMTAB …
        tag: &'static str,
        /// What is wrong.
        why: &'static str,
    },
    /// A table that the dynamic linker would misread.
    #[error("{table}: {why}")]
    Table {
        /// `.gnu.hash` … by the name its section usually has.
        table: &'static str,
        /// What is wrong.
        why: &'static str,
    },
    /// Thread-local variables beyond what a PD gets.
    #[error("thread-local variables: {0}")]
    ThreadLocal(String),
    /// `init` or `notified` is not there.
    #[error("no symbol `{symbol}`{}", .why.words())]
    EntryMissing {
        /// `init`, `notified`.
        symbol: &'static str,
        /// What was found instead.
        why: Missing,
    },
    /// An entry point that is no function of the image.
    #[error("`{symbol}` {why}")]
    Entry {
        /// `init`, `notified`, `protected`, `fault`.
        symbol: &'static str,
        /// What is wrong.
        why: &'static str,
    },
}

/// Kinds of ELF files that are no plug-ins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// ET_REL
    Relocatable,
    /// ET_EXEC
    StaticExecutable,
    /// ET_DYN with DF_1_PIE
    PositionIndependentExecutable,
    /// ET_CORE
    Core,
    /// Any other e_type.
    Other(u16),
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Relocatable => f.write_str("an object file that is not linked yet (ET_REL)"),
            Self::StaticExecutable => f.write_str("an executable at a fixed address (ET_EXEC)"),
            Self::PositionIndependentExecutable => f.write_str("a position-independent executable"),
            Self::Core => f.write_str("a core dump"),
            Self::Other(number) => write!(f, "an ELF file of type {number:#x}"),
        }
    }
}

/// What was found in place of an entry point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// Nothing.
    Nowhere,
    /// A function of that name which is static or hidden.
    NotExported,
    /// A function with the C++ name of it.
    Mangled,
    /// Only a reference to it.
    Undefined,
}

impl Missing {
    fn words(self) -> &'static str {
        match self {
            Self::Nowhere => "",
            Self::NotExported => ": a function of that name is there, but static or hidden",
            Self::Mangled => ": a function of that name is there, but under its C++ name",
            Self::Undefined => ": it is only referred to, not defined",
        }
    }
}

const BUILD: &str = "build the image as a shared object: mk-sandbox cc -o NAME.elf NAME.c";
const REBUILD: &str =
    "the file is damaged or made by an unusual tool; build it again: mk-sandbox cc -o NAME.elf NAME.c";

impl Problem {
    /// What to do about it.
    pub fn hint(&self) -> String {
        let hint = match self {
            Self::NotElf => BUILD,
            Self::Truncated { .. } => "the file was not written or copied completely; build or copy it again",
            Self::OtherMachine(_) => {
                "build it with this machine's compiler: mk-sandbox cc -o NAME.elf NAME.c"
            }
            Self::NotSharedObject(Kind::StaticExecutable) => {
                "static Microkit images are not supported yet; build the same sources as a shared object: \
                 mk-sandbox cc -o NAME.elf NAME.c"
            }
            Self::NotSharedObject(_) | Self::NoDynamicSection => BUILD,
            Self::Header(_) | Self::Segment { .. } | Self::Relocation { .. } => REBUILD,
            Self::Dynamic { .. } | Self::Table { .. } => REBUILD,
            Self::WritableAndExecutable { .. } => {
                "no memory of a PD is both; leave out -Wl,-N, --omagic and hand-written section flags"
            }
            Self::ExecutableStack { .. } => {
                "link with -Wl,-z,noexecstack; assembly files need: .section .note.GNU-stack,\"\",@progbits"
            }
            Self::TextRelocations { .. } => {
                "compile every source, assembly too, with -fPIC and link with -Wl,-z,text"
            }
            Self::RelocationType { .. } => "compile every source with -fPIC and link with -shared",
            Self::CopyRelocation { .. } => {
                "compile every source with -fPIC and link with -shared, without -pie"
            }
            Self::IndirectFunction { .. } => {
                "its resolver would run before the sandbox is closed; choose the function in init() instead of \
                 __attribute__((ifunc)) or target_clones"
            }
            Self::SearchPath { .. } => "link without -rpath; a PD loads nothing from other directories",
            Self::ForeignLibrary(_) => {
                "PDs get libmicrokit.so, libc.so.6, libm.so.6, libgcc_s.so.1 and ld-linux-x86-64.so.2; link other code \
                 into the image statically"
            }
            Self::LoadsOthers(_) => "link without --audit, --depaudit, --filter and --auxiliary",
            Self::ThreadLocal(_) => "a PD has one thread: use plain static variables",
            Self::EntryMissing { symbol, why } => return Self::entry_hint(symbol, *why),
            Self::Entry { .. } => "it must be a function of the image with default visibility",
        };
        hint.to_owned()
    }

    fn entry_hint(symbol: &str, why: Missing) -> String {
        let signature = match symbol {
            "init" => "void init(void)",
            _ => "void notified(microkit_channel ch)",
        };
        match why {
            Missing::Nowhere | Missing::Undefined => format!("every image defines {signature}"),
            Missing::NotExported => {
                format!(
                    "remove `static` from {signature}, or build without -fvisibility=hidden and version scripts"
                )
            }
            Missing::Mangled => format!("declare it extern \"C\" {signature}"),
        }
    }
}

/// A variable that a `setvar` names and that cannot be set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{image}: variable `{symbol}`: {problem}")]
pub struct SymbolError {
    /// The image, as the caller names it.
    pub image: String,
    /// The symbol's name.
    pub symbol: String,
    /// What is wrong with it.
    pub problem: SymbolProblem,
}

/// What is wrong with a variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SymbolProblem {
    /// No symbol of that name.
    #[error("no such symbol")]
    Missing,
    /// Only referred to.
    #[error("only referred to, not defined in the image")]
    Undefined,
    /// Several definitions.
    #[error("defined more than once")]
    Duplicate,
    /// STT_TLS
    #[error("a thread-local variable")]
    ThreadLocal,
    /// STT_FUNC or another type that is no variable, or SHN_ABS.
    #[error("not a variable")]
    NotData,
    /// Not inside one segment's memory.
    #[error("lies outside of the image's memory")]
    Outside,
    /// Read-only, and without bytes in the file that could be set.
    #[error("is read-only and has no bytes in the file")]
    NotInFile,
    /// The dynamic linker would overwrite a value written to the file.
    #[error("is read-only and its value comes from a relocation")]
    Relocated,
    /// It overlaps what the dynamic linker reads.
    #[error("lies inside the headers or tables that the dynamic linker reads")]
    Structure,
}

impl SymbolProblem {
    /// What to do about it.
    pub fn hint(self) -> &'static str {
        match self {
            Self::Missing => {
                "define it: uintptr_t NAME; (and check that the optimiser kept it: use it, or add volatile)"
            }
            Self::Undefined => "define it in one of the image's sources: uintptr_t NAME;",
            Self::Duplicate => "the symbol must be unique, static variables included; rename one of them",
            Self::ThreadLocal => "remove _Thread_local or __thread",
            Self::NotData => "the symbol must be a variable, uintptr_t NAME;",
            Self::Relocated => "remove const, or its initialiser",
            Self::Outside | Self::NotInFile | Self::Structure => REBUILD,
        }
    }
}
