//! `memory_region`: size, page size, physical address, and what it begins with.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::context::{Context, Shape, list, quoted};
use super::document::{Attribute, Element};
use super::limits::{LARGE_PAGE, SMALL_PAGE};
use super::search;

use super::system::{MemoryRegion, RegionIndex, Span};

/// `prefill_bootinfo`: what the machine's firmware says, as the kernel hands it on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootInfo {
    /// VESA mode information.
    X86Vbe,
    /// Multiboot memory map.
    X86MbMmap,
    /// ACPI root pointer.
    X86AcpiRsdp,
    /// Framebuffer description.
    X86Framebuffer,
    /// Frequency of the time stamp counter.
    X86TscFreq,
    /// Flattened device tree.
    Fdt,
}

impl BootInfo {
    const ALL: [(&'static str, Self); 6] = [
        ("x86_vbe", Self::X86Vbe),
        ("x86_mbmmap", Self::X86MbMmap),
        ("x86_acpi_rsdp", Self::X86AcpiRsdp),
        ("x86_framebuffer", Self::X86Framebuffer),
        ("x86_tsc_freq", Self::X86TscFreq),
        ("fdt", Self::Fdt),
    ];
}

/// A region whose page size is not settled.
#[derive(Debug)]
pub(super) struct Draft {
    /// `size` is 0 when it is not known, `page_size` 0 until it is settled.
    pub(super) region: MemoryRegion,
    phys_addr_span: Span,
    /// Something maps it or asks for its address.
    pub(super) used: bool,
    /// Mapped by a device, so in small pages.
    pub(super) device: bool,
}

/// Every region of the file.
#[derive(Debug, Default)]
pub(super) struct Regions {
    pub(super) drafts: Vec<Draft>,
    names: BTreeMap<String, RegionIndex>,
}

const SHAPE: Shape = Shape {
    attributes: &["name", "size", "page_size", "phys_addr", "prefill_path", "prefill_bootinfo"],
    children: &[],
};

impl Regions {
    /// The region that `attribute` names, or a finding.
    pub(super) fn find(&self, cx: &mut Context<'_>, attribute: &Attribute<'_>) -> Option<RegionIndex> {
        let found = self.names.get(&attribute.value).copied();
        if found.is_none() {
            let message = format!("there is no memory region {}", quoted(&attribute.value));
            let help = match cx.nearest(&attribute.value, self.names.keys().map(|n| &**n)) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => "declare it: <memory_region name=\"…\" size=\"…\"/>".to_owned(),
            };
            cx.error_help(&attribute.span, message, help);
        }
        found
    }

    /// Reads a `memory_region`.
    pub(super) fn read<'s>(&mut self, cx: &mut Context<'s>, element: &Element<'s>) {
        cx.shape(element, &SHAPE);
        let index = RegionIndex(self.drafts.len());
        let name = cx.name(element).unwrap_or_default();
        if let Some(first) = self.names.get(&name) {
            let message = format!("there are two memory regions {}", quoted(&name));
            let line = cx.line_of(&self.drafts[first.0].region.span);
            let span = element.attribute("name").map_or(&element.span, |name| &name.span);
            cx.error_help(span, message, format!("the first is at {line}"));
        } else if !name.is_empty() {
            self.names.insert(name.clone(), index);
        }
        let page_size = page_size(cx, element);
        let known_page = page_size.unwrap_or(SMALL_PAGE);
        let bootinfo = bootinfo(cx, element);
        let prefill = prefill(cx, element);
        let size = size(cx, element, known_page, prefill.as_ref());
        let phys_addr = element.attribute("phys_addr");
        let address = phys_addr.and_then(|attribute| {
            let address = cx.number(attribute)?;
            aligned(cx, attribute, address, known_page)?;
            fits(cx, attribute, address, size)
        });
        if let Some(attribute) = phys_addr {
            cx.warning(
                &attribute.span,
                format!("{} is ordinary memory here, not a device", quoted(&name)),
                "`setvar region_paddr` still yields this address",
            );
        }
        self.drafts.push(Draft {
            region: MemoryRegion {
                name,
                size: size.unwrap_or(0),
                page_size: page_size.unwrap_or(0),
                phys_addr: address,
                prefill,
                bootinfo,
                span: element.span.clone(),
            },
            phys_addr_span: phys_addr.map_or(0..0, |attribute| attribute.span.clone()),
            used: false,
            device: false,
        });
    }

    /// Chooses page sizes, now that every address in `uses` is known, and judges the regions
    /// against each other.
    pub(super) fn finish(
        mut self,
        cx: &mut Context<'_>,
        uses: impl Iterator<Item = (RegionIndex, u64)>,
    ) -> Vec<MemoryRegion> {
        let mut large: Vec<bool> = self.drafts.iter().map(Draft::may_be_large).collect();
        for (region, address) in uses {
            large[region.0] &= address.is_multiple_of(LARGE_PAGE);
        }
        for (draft, large) in self.drafts.iter_mut().zip(large) {
            if draft.region.page_size == 0 {
                draft.region.page_size = if large { LARGE_PAGE } else { SMALL_PAGE };
            }
        }
        self.check_phys_overlap(cx);
        self.drafts.into_iter().map(|draft| draft.region).collect()
    }

    /// The regions that nothing maps or asks for.
    pub(super) fn unused(&self) -> Vec<RegionIndex> {
        let unused = self.drafts.iter().enumerate().filter(|(_, draft)| !draft.used);
        unused.map(|(index, _)| RegionIndex(index)).collect()
    }

    fn check_phys_overlap(&self, cx: &mut Context<'_>) {
        let mut ranges: Vec<(u64, u64, &Draft)> = self
            .drafts
            .iter()
            .filter_map(|draft| {
                let start = draft.region.phys_addr?;
                Some((start, start.saturating_add(draft.region.size), draft))
            })
            .collect();
        ranges.sort_by_key(|(start, end, _)| (*start, *end));
        let mut reaching: Option<(u64, &Draft)> = None;
        for (start, end, draft) in ranges {
            if let Some((reached, other)) = reaching
                && start < reached
            {
                let (first, second) = match other.region.span.start < draft.region.span.start {
                    true => (other, draft),
                    false => (draft, other),
                };
                let message = format!(
                    "the physical addresses of {} overlap those of {}",
                    quoted(&second.region.name),
                    quoted(&first.region.name)
                );
                let help = format!("the other is at {}", cx.line_of(&first.region.span));
                cx.error_help(&second.phys_addr_span, message, help);
            }
            if reaching.is_none_or(|(reached, _)| end > reached) {
                reaching = Some((end, draft));
            }
        }
    }
}

impl Draft {
    fn may_be_large(&self) -> bool {
        let aligned = |number: u64| number.is_multiple_of(LARGE_PAGE);
        self.region.size != 0
            && aligned(self.region.size)
            && self.region.phys_addr.is_none_or(aligned)
            && !self.device
    }
}

fn page_size<'s>(cx: &mut Context<'s>, element: &Element<'s>) -> Option<u64> {
    let attribute = element.attribute("page_size")?;
    let number = cx.number(attribute)?;
    if matches!(number, SMALL_PAGE | LARGE_PAGE) {
        return Some(number);
    }
    let message = format!(
        "`page_size` is {}, but must be {SMALL_PAGE:#x} or {LARGE_PAGE:#x}",
        quoted(&attribute.value)
    );
    cx.error(&attribute.span, message);
    None
}

/// The size as given, or as much as the prefill file needs.
fn size<'s>(
    cx: &mut Context<'s>,
    element: &Element<'s>,
    page_size: u64,
    prefill: Option<&(PathBuf, u64)>,
) -> Option<u64> {
    // A prefill file that is not found has been reported: its length would be the size.
    if element.attribute("size").is_none() && element.attribute("prefill_path").is_some() {
        return prefill.and_then(|(_, length)| length.checked_next_multiple_of(page_size));
    }
    let attribute = cx.required(element, "size")?;
    let size = cx.number(attribute)?;
    let top = cx.options.arch.user_top();
    if size == 0 {
        cx.error_help(&attribute.span, "`size` is 0", format!("the least is {SMALL_PAGE:#x}"));
        return None;
    }
    aligned(cx, attribute, size, page_size)?;
    if size > top {
        let message = format!("`size` is {size:#x}, more than the {top:#x} bytes of user memory");
        cx.error(&attribute.span, message);
        return None;
    }
    if let Some((path, length)) = prefill
        && *length > size
        && let Some(attribute) = element.attribute("prefill_path")
    {
        let path = path.display();
        let message = format!("`{path}` has {length} bytes, but the region has {size}");
        cx.error_help(&attribute.span, message, "enlarge `size` or leave it out");
    }
    Some(size)
}

/// `number` when it is a multiple of `page_size`.
pub(super) fn aligned(
    cx: &mut Context<'_>,
    attribute: &Attribute<'_>,
    number: u64,
    page_size: u64,
) -> Option<u64> {
    if number.is_multiple_of(page_size) {
        return Some(number);
    }
    let message = format!(
        "`{}` is {number:#x}, which is not a multiple of the page size {page_size:#x}",
        attribute.name
    );
    cx.error(&attribute.span, message);
    None
}

fn fits(cx: &mut Context<'_>, attribute: &Attribute<'_>, address: u64, size: Option<u64>) -> Option<u64> {
    if let Some(size) = size
        && address.checked_add(size).is_none()
    {
        let message = format!(
            "`{}` is {address:#x}: a region of {size:#x} bytes there does not fit into 64 bits",
            attribute.name
        );
        cx.error(&attribute.span, message);
        return None;
    }
    Some(address)
}

fn bootinfo<'s>(cx: &mut Context<'s>, element: &Element<'s>) -> Option<BootInfo> {
    let attribute = element.attribute("prefill_bootinfo")?;
    cx.unsupported("prefill_bootinfo", &attribute.span);
    if element.attribute("prefill_path").is_some() {
        let message = "`prefill_bootinfo` and `prefill_path` exclude each other";
        cx.error(&attribute.span, message);
    }
    let found = BootInfo::ALL.into_iter().find(|(name, _)| *name == attribute.value);
    if found.is_none() {
        let names = BootInfo::ALL.map(|(name, _)| name);
        let message = format!("there is no boot information {}", quoted(&attribute.value));
        let help = match cx.nearest(&attribute.value, names) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("there are {}", list(&names)),
        };
        cx.error_help(&attribute.span, message, help);
    }
    found.map(|(_, kind)| kind)
}

/// The prefill file and its length.
fn prefill<'s>(cx: &mut Context<'s>, element: &Element<'s>) -> Option<(PathBuf, u64)> {
    let attribute = element.attribute("prefill_path")?;
    let path = match search::find_in_search_path(Path::new(&attribute.value), &cx.options.search_path) {
        Ok(path) => path,
        Err(error) => {
            let message = format!("there is no file {}", quoted(&attribute.value));
            let help = match error.places() {
                Some(places) => format!("it is looked for in {places}; see --search-path"),
                None => "correct the path".to_owned(),
            };
            cx.error_help(&attribute.span, message, help);
            return None;
        }
    };
    match length_of(&path) {
        Ok(0) => {
            cx.error(&attribute.span, format!("the prefill file `{}` is empty", path.display()));
            None
        }
        Ok(length) => Some((path, length)),
        Err(error) => {
            let message = format!("cannot read the prefill file `{}`: {error}", path.display());
            cx.error(&attribute.span, message);
            None
        }
    }
}

fn length_of(path: &Path) -> std::io::Result<u64> {
    // A pipe has no length, and opening one can wait for ever.
    if !fs::metadata(path)?.is_file() {
        return Err(std::io::Error::other("not an ordinary file"));
    }
    Ok(File::open(path)?.metadata()?.len())
}
