//! What of an image is run, and when: its entry points, and its constructors.

#![forbid(unsafe_code)]

use super::bytes::LE;
use super::dynamic::Dynamic;
use super::error::{Missing, Problem};
use super::segments::Layout;
use super::symbols::{Symbols, is_code};
use object::elf;

/// The functions that libmicrokit calls, as addresses relative to where the image is loaded. Each lies in an
/// executable segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct EntryPoints {
    /// `void init(void)`
    pub init: u64,
    /// `void notified(microkit_channel)`
    pub notified: u64,
    /// `microkit_msginfo protected(microkit_channel, microkit_msginfo)`
    pub protected: Option<u64>,
    /// `seL4_Bool fault(microkit_child, microkit_msginfo, microkit_msginfo *)`
    pub fault: Option<u64>,
}

/// An array of function pointers, filled in by relocations; inside the image, in the file's part of a segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct FunctionArray {
    /// Its address, relative to where the image is loaded; a multiple of 8. 0 when it is empty.
    pub vaddr: u64,
    /// Pointers in it.
    pub count: u64,
}

/// What the dynamic linker would have run before `dlopen` returned, in this order. The prepared image does not tell
/// it; libmicrokit runs them under the final filter. What the pointers hold is not checked: they are the PD's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Constructors {
    /// DT_PREINIT_ARRAY
    pub preinit_array: FunctionArray,
    /// DT_INIT, inside an executable segment.
    pub init: Option<u64>,
    /// DT_INIT_ARRAY
    pub init_array: FunctionArray,
}

/// Finds the entry points in the dynamic symbol table.
pub(super) fn points(
    bytes: &[u8],
    layout: &Layout,
    dynamic: &Symbols,
    full: Option<&Symbols>,
) -> Result<EntryPoints, Problem> {
    let required = |symbol, mangled| match find(bytes, layout, dynamic, symbol)? {
        Some(vaddr) => Ok(vaddr),
        None => {
            let why = missing(bytes, dynamic, full, symbol, mangled);
            Err(Problem::EntryMissing { symbol, why })
        }
    };
    Ok(EntryPoints {
        init: required("init", "_Z4initv")?,
        notified: required("notified", "_Z8notifiedj")?,
        protected: find(bytes, layout, dynamic, "protected")?,
        fault: find(bytes, layout, dynamic, "fault")?,
    })
}

fn find(
    bytes: &[u8],
    layout: &Layout,
    symbols: &Symbols,
    symbol: &'static str,
) -> Result<Option<u64>, Problem> {
    let fault = |why| Err(Problem::Entry { symbol, why });
    let mut defined = symbols.named(bytes, symbol).filter(|found| found.st_shndx.get(LE) != elf::SHN_UNDEF);
    let Some(found) = defined.next() else {
        return Ok(None);
    };
    if defined.next().is_some() {
        return fault("is defined more than once");
    }
    let hidden = [elf::STV_HIDDEN, elf::STV_INTERNAL].contains(&found.st_visibility());
    if found.st_bind() == elf::STB_LOCAL || hidden {
        return Ok(None);
    }
    if !is_code(found) {
        return fault("is not a function");
    }
    let vaddr = found.st_value.get(LE);
    if !layout.executable(vaddr) {
        return fault("is not inside an executable segment");
    }
    Ok(Some(vaddr))
}

/// Looks for what the author may have meant.
fn missing(bytes: &[u8], dynamic: &Symbols, full: Option<&Symbols>, symbol: &str, mangled: &str) -> Missing {
    let tables = || [Some(dynamic), full].into_iter().flatten();
    let code = |name| tables().any(|table| table.named(bytes, name).any(is_code));
    if code(symbol) {
        Missing::NotExported
    } else if code(mangled) {
        Missing::Mangled
    } else if tables().any(|table| table.named(bytes, symbol).next().is_some()) {
        Missing::Undefined
    } else {
        Missing::Nowhere
    }
}

/// Finds the constructors in the dynamic section.
pub(super) fn constructors(layout: &Layout, dynamic: &Dynamic) -> Result<Constructors, Problem> {
    let init = dynamic.get(elf::DT_INIT);
    if init.is_some_and(|vaddr| !layout.executable(vaddr)) {
        let why = "is not inside an executable segment";
        return Err(Problem::Dynamic { tag: "DT_INIT", why });
    }
    Ok(Constructors {
        preinit_array: array(
            layout,
            "DT_PREINIT_ARRAY",
            dynamic.get(elf::DT_PREINIT_ARRAY),
            dynamic.get(elf::DT_PREINIT_ARRAYSZ),
        )?,
        init,
        init_array: array(
            layout,
            "DT_INIT_ARRAY",
            dynamic.get(elf::DT_INIT_ARRAY),
            dynamic.get(elf::DT_INIT_ARRAYSZ),
        )?,
    })
}

fn array(
    layout: &Layout,
    tag: &'static str,
    vaddr: Option<u64>,
    size: Option<u64>,
) -> Result<FunctionArray, Problem> {
    let fault = |why| Err(Problem::Dynamic { tag, why });
    let (vaddr, size) = match (vaddr, size) {
        (None, None) | (_, Some(0)) => return Ok(FunctionArray::default()),
        (Some(vaddr), Some(size)) => (vaddr, size),
        _ => return fault("comes without its size, or its size alone"),
    };
    if vaddr % 8 != 0 || size % 8 != 0 {
        return fault("is not made of aligned 8-byte pointers");
    }
    if layout.offset(vaddr, size).is_none() {
        return fault("is not inside the file's part of a segment");
    }
    Ok(FunctionArray { vaddr, count: size / 8 })
}
