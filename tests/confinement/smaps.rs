//! /proc/PID/smaps, page by page: what a mapping is made of shows only there, since the kernel joins and splits mappings as it likes.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use nix::unistd::Pid;

use crate::scene::read;

/// Bytes of a page.
pub const PAGE: u64 = 0x1000;

/// The one mapping in the list that is none of the process: it is the same in all, and only part of the kernel's range.
pub const VSYSCALL: &str = "[vsyscall]";

/// One page that is mapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// `rwxp` or `rwxs`.
    pub rights: String,
    /// Device and inode behind it; `00:00 0` for none.
    pub file: String,
    /// Byte of the file.
    pub offset: u64,
    /// File or `[name]`, or empty.
    pub name: String,
    /// Two-letter flags of the kernel: `sl` is sealed.
    pub flags: Vec<String>,
}

impl Page {
    /// There is nothing behind it but memory of its own.
    pub fn is_anonymous(&self) -> bool {
        self.file == "00:00 0" && self.rights.ends_with('p')
    }

    /// mseal holds for it.
    pub fn is_sealed(&self) -> bool {
        self.flags.iter().any(|flag| flag == "sl")
    }
}

/// Every mapped page by its address.
pub fn pages(pid: Pid) -> BTreeMap<u64, Page> {
    let mut pages = BTreeMap::new();
    let mut last: Option<(u64, u64, Page)> = None;
    for line in read(pid, "smaps").lines() {
        if let Some(flags) = line.strip_prefix("VmFlags:") {
            let (start, end, mut page) = last.take().expect("flags follow a mapping");
            page.flags = flags.split_whitespace().map(str::to_owned).collect();
            for address in (start..end).step_by(PAGE as usize) {
                let mut page = page.clone();
                if !page.is_anonymous() {
                    page.offset += address - start;
                }
                pages.insert(address, page);
            }
        } else if let Some(mapping) = mapping(line) {
            last = Some(mapping);
        }
    }
    assert!(last.is_none() && !pages.is_empty(), "smaps of {pid} has another form than expected");
    pages
}

/// `START-END RIGHTS OFFSET DEVICE INODE NAME`; the other lines are `Name: …`.
fn mapping(line: &str) -> Option<(u64, u64, Page)> {
    let mut words = line.splitn(6, ' ');
    let (start, end) = words.next()?.split_once('-')?;
    let (rights, offset, device, inode) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let name = words.next().unwrap_or("").trim_start();
    let hex = |text: &str| u64::from_str_radix(text, 16).ok();
    let page = Page {
        rights: rights.to_owned(),
        file: format!("{device} {inode}"),
        offset: hex(offset)?,
        name: name.to_owned(),
        flags: Vec::new(),
    };
    Some((hex(start)?, hex(end)?, page))
}
