//! Every page of each PD is accounted for: what the plan gives it is where and as the plan says, the rest is what a process of this
//! kind is made of, and nothing is left over.

#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use mk_sandbox::commands::embedded::LIBMICROKIT;
use mk_sandbox::plan::{PdPlan, USER_TOP};
use mk_sandbox::sdf::PdIndex;
use nix::unistd::Pid;
use object::elf;
use object::read::elf::{FileHeader, ProgramHeader};

use crate::cases::Cases;
use crate::scene::{HEAP_SIZE, Scene, read};
use crate::smaps::{PAGE, Page, VSYSCALL, pages};

/// Adds the cases.
pub fn cases(cases: &mut Cases, scene: &Scene) {
    for (pd, pid) in scene.pds() {
        cases.case(&scene.case(&pd.name, "every page"), || accounted(scene, pd, pid));
        cases.case(&scene.case(&pd.name, "no page is writable and executable"), || no_page_both(pid));
        cases.case(&scene.case(&pd.name, "every page is sealed"), || sealed(pid));
    }
    cases.case(&scene.case("system", "shared memory is shared by those it is for"), || shared(scene));
}

fn no_page_both(pid: Pid) -> String {
    let pages = pages(pid);
    let executable = pages.values().filter(|page| page.rights.contains('x'));
    assert!(executable.clone().all(|page| !page.rights.contains('w')));
    format!("{} executable ones of {}", executable.count(), pages.len())
}

fn sealed(pid: Pid) -> String {
    let pages = pages(pid);
    for (address, page) in &pages {
        assert!(page.is_sealed() || page.name == VSYSCALL, "{address:#x}: {page:?}");
    }
    format!("{}", pages.len())
}

/// The pages of a PD that nothing has explained yet.
struct Unexplained {
    pages: BTreeMap<u64, Page>,
    name: String,
}

impl Unexplained {
    /// Takes the pages from `start` to `end`, which must be there with these rights and pass the look.
    #[track_caller]
    fn take(
        &mut self,
        what: &str,
        start: u64,
        end: u64,
        rights: &str,
        look: impl Fn(u64, &Page) -> bool,
    ) -> usize {
        for address in (start..end).step_by(PAGE as usize) {
            let page = self.pages.remove(&address);
            let page = page.unwrap_or_else(|| panic!("`{}`: {what}: nothing at {address:#x}", self.name));
            assert!(
                page.rights == rights && look(address, &page),
                "`{}`: {what} at {address:#x} should be {rights}: {page:?}",
                self.name
            );
        }
        ((end - start) / PAGE) as usize
    }

    /// Takes every page that has this name.
    fn take_named(&mut self, name: &str) -> Vec<(u64, Page)> {
        let addresses: Vec<u64> =
            self.pages.iter().filter(|(_, page)| page.name == name).map(|(address, _)| *address).collect();
        addresses.into_iter().map(|address| (address, self.pages.remove(&address).unwrap())).collect()
    }

    /// Where the run of pages that begins here and looks alike ends.
    fn run(&self, start: u64, alike: impl Fn(&Page) -> bool) -> u64 {
        let mut end = start;
        while self.pages.get(&end).is_some_and(&alike) {
            end += PAGE;
        }
        end
    }
}

fn is_memfd(page: &Page, name: &str) -> bool {
    page.name == format!("/memfd:{name} (deleted)")
}

fn accounted(scene: &Scene, pd: &PdPlan, pid: Pid) -> String {
    let mut left = Unexplained { pages: pages(pid), name: pd.name.clone() };
    let total = left.pages.len();
    let planned = regions(pd, &mut left) + channels(scene, pd, &mut left) + supervisor(pd, &mut left);
    let image_name = format!("/{}", pd.image.display());
    let image = elf_file(&mut left, &image_name, &scene.image(pd));
    let microkit = elf_file(&mut left, "/memfd:libmicrokit.so (deleted)", LIBMICROKIT);
    let own = stack_and_handoff(pd, pid, &mut left);
    let heap = heap(&mut left);
    let host = libraries(scene, pd, &mut left);
    let kernel = kernel(&mut left);
    let rest = rest(&mut left);
    assert!(left.pages.is_empty(), "`{}`: unexplained: {:#x?}", pd.name, left.pages);
    let sum = planned + image + microkit + own + heap + host + kernel + rest;
    assert_eq!(sum, total, "no page is counted twice");
    format!(
        "{total} pages: {planned} regions, guards and channels, {image} image, {microkit} libmicrokit, \
         {own} stack and handoff, {heap} heap, {host} host binary and libraries, {kernel} the kernel's, {rest} others"
    )
}

fn regions(pd: &PdPlan, left: &mut Unexplained) -> usize {
    let mut count = 0;
    for map in &pd.maps {
        let right = |on: bool, letter: char| if on { letter } else { '-' };
        let perms = map.perms;
        let rights: String =
            [right(perms.read, 'r'), right(perms.write, 'w'), right(perms.execute, 'x'), 's']
                .into_iter()
                .collect();
        count += left.take(&map.name, map.vaddr, map.end(), &rights, |address, page| {
            is_memfd(page, &map.name) && page.offset == address - map.vaddr
        });
    }
    for guard in &pd.guards {
        let end = guard.vaddr + guard.size;
        count += left
            .take("guard", guard.vaddr, end, "---p", |_, page| page.is_anonymous() && page.name.is_empty());
    }
    count
}

/// Its own channel memory whole and in one piece; of each peer's, page 0 and the pages of shared channels, read-only.
fn channels(scene: &Scene, pd: &PdPlan, left: &mut Unexplained) -> usize {
    let mut expected: BTreeMap<PdIndex, BTreeSet<u64>> = BTreeMap::new();
    for end in &pd.ends {
        expected.entry(end.peer).or_insert_with(|| [0].into()).insert(end.incoming.page);
    }
    let mut count = 0;
    for other in &scene.plan().pds {
        let pages = left.take_named(&format!("/memfd:channels:{} (deleted)", other.name));
        count += pages.len();
        let offsets: Vec<u64> = pages.iter().map(|(_, page)| page.offset / PAGE).collect();
        let rights: BTreeSet<&str> = pages.iter().map(|(_, page)| page.rights.as_str()).collect();
        if other.index == pd.index {
            assert_eq!(offsets, (0..pd.channel_pages).collect::<Vec<_>>(), "its own, one behind the other");
            assert_eq!(rights, BTreeSet::from(["rw-s"]));
            let first = pages[0].0;
            assert!(
                pages.iter().enumerate().all(|(index, (address, _))| *address == first + index as u64 * PAGE)
            );
        } else {
            let expected = expected.remove(&other.index).unwrap_or_default();
            assert_eq!(offsets.len(), expected.len(), "`{}`: {offsets:?}", other.name);
            assert_eq!(BTreeSet::from_iter(offsets), expected, "of `{}`", other.name);
            assert!(rights.iter().all(|rights| *rights == "r--s"), "of `{}`: {rights:?}", other.name);
        }
    }
    assert!(expected.is_empty(), "{expected:?}");
    count
}

/// A parent's page about its children, which it can read.
fn supervisor(pd: &PdPlan, left: &mut Unexplained) -> usize {
    let pages = left.take_named(&format!("/memfd:supervisor:{} (deleted)", pd.name));
    assert_eq!(pages.len(), usize::from(!pd.children.is_empty()));
    assert!(pages.iter().all(|(_, page)| page.rights == "r--s"), "{pages:?}");
    pages.len()
}

/// What the program headers make of a file: rights by page, from the file's first segment on.
fn segments(bytes: &[u8]) -> BTreeMap<u64, &'static str> {
    let header = elf::FileHeader64::<object::LittleEndian>::parse(bytes).unwrap();
    let endian = object::LittleEndian;
    let headers = header.program_headers(endian, bytes).unwrap();
    let page_range = |start: u64, end: u64| (start & !(PAGE - 1)..end).step_by(PAGE as usize);
    let mut expected = BTreeMap::new();
    for load in headers.iter().filter(|header| header.p_type(endian) == elf::PT_LOAD) {
        let flags = load.p_flags(endian).0;
        let rights = match (flags & elf::PF_W.0 != 0, flags & elf::PF_X.0 != 0) {
            (false, false) => "r--p",
            (false, true) => "r-xp",
            (true, false) => "rw-p",
            (true, true) => panic!("a segment that is writable and executable"),
        };
        let start = load.p_vaddr(endian);
        expected.extend(page_range(start, start + load.p_memsz(endian)).map(|page| (page, rights)));
    }
    for relro in headers.iter().filter(|header| header.p_type(endian) == elf::PT_GNU_RELRO) {
        // The dynamic linker makes whole pages read-only.
        let (start, end) = (relro.p_vaddr(endian), relro.p_vaddr(endian) + relro.p_memsz(endian));
        expected.extend(page_range(start, end & !(PAGE - 1)).map(|page| (page, "r--p")));
    }
    expected
}

/// A file that the dynamic linker has loaded, with the memory behind its data.
#[track_caller]
fn elf_file(left: &mut Unexplained, name: &str, bytes: &[u8]) -> usize {
    let base = left.pages.iter().find(|(_, page)| page.name == name).map(|(address, _)| *address);
    let base = base.unwrap_or_else(|| panic!("`{}`: {name} is not mapped", left.name));
    let mut count = 0;
    for (page, rights) in segments(bytes) {
        let at = base + page;
        count += left.take(name, at, at + PAGE, rights, |_, page| page.name == name || is_bss(page, rights));
    }
    assert!(left.take_named(name).is_empty(), "`{}`: more of {name} than its segments", left.name);
    count
}

fn is_bss(page: &Page, rights: &str) -> bool {
    rights == "rw-p" && page.is_anonymous() && page.name.is_empty()
}

/// The stack of the plan's size, and the page of the handoff, each between two guards.
fn stack_and_handoff(pd: &PdPlan, pid: Pid, left: &mut Unexplained) -> usize {
    let blank = |_: u64, page: &Page| page.is_anonymous() && page.name.is_empty();
    // Where a PD waits, in its own code and on its own stack: field 29 of /proc/PID/stat is of no use for a process that has
    // left its first stack, /proc/PID/syscall tells both.
    let syscall = read(pid, "syscall");
    let mut last = syscall.split_whitespace().rev().map(|word| u64::from_str_radix(&word[2..], 16).unwrap());
    let (_instruction, pointer) = (last.next().unwrap(), last.next().unwrap());
    let page = pointer & !(PAGE - 1);
    let alike = |page: &Page| page.rights == "rw-p" && page.is_anonymous();
    let mut start = page;
    while left.pages.get(&(start - PAGE)).is_some_and(alike) {
        start -= PAGE;
    }
    let end = left.run(start, alike);
    assert_eq!(end - start, pd.stack_size, "the stack");
    let mut count = left.take("stack", start, end, "rw-p", blank);
    count += left.take("guard below the stack", start - PAGE, start, "---p", blank);
    count += left.take("guard above the stack", end, end + PAGE, "---p", blank);
    // One private page that can only be read: it has no file, as everything else of that kind has.
    let handoff: Vec<u64> = left
        .pages
        .iter()
        .filter(|(_, page)| page.rights == "r--p" && page.is_anonymous() && page.name.is_empty())
        .map(|(address, _)| *address)
        .collect();
    let [handoff] = handoff[..] else { panic!("`{}`: the handoff is one page: {handoff:#x?}", pd.name) };
    count += left.take("handoff", handoff, handoff + PAGE, "r--p", blank);
    count += left.take("guard below the handoff", handoff - PAGE, handoff, "---p", blank);
    count + left.take("guard above the handoff", handoff + PAGE, handoff + 2 * PAGE, "---p", blank)
}

/// What the PD host itself has allocated before the heap was set aside, and malloc's own words.
const HEAP_OVERHEAD: u64 = 256 << 10;

fn heap(left: &mut Unexplained) -> usize {
    let pages = left.take_named("[heap]");
    let bytes = pages.len() as u64 * PAGE;
    assert!((HEAP_SIZE..=HEAP_SIZE + HEAP_OVERHEAD).contains(&bytes), "{bytes:#x} bytes of heap");
    assert!(pages.iter().all(|(_, page)| page.rights == "rw-p" && page.is_anonymous()));
    pages.len()
}

/// The binary that was the PD host, the C runtime it stands on, and what the image needs besides: nothing else of the host's files.
fn libraries(scene: &Scene, pd: &PdPlan, left: &mut Unexplained) -> usize {
    let binary = scene.binary();
    let names: BTreeSet<String> =
        left.pages.values().map(|page| page.name.clone()).filter(|name| name.starts_with('/')).collect();
    // The binary's own, whether the image needs them or not.
    let mut expected = BTreeSet::from(["libc.so.6", "ld-linux-x86-64.so.2", "libgcc_s.so.1"]);
    let needed = scene.needed(pd);
    expected.extend(needed.iter().filter(|name| **name != "libmicrokit.so"));
    let mut seen = BTreeSet::new();
    let mut count = 0;
    for name in &names {
        let short = name.rsplit('/').next().unwrap();
        assert!(*name == binary || expected.contains(short), "`{}`: {name} is mapped", pd.name);
        seen.insert(short);
        count += elf_file(left, name, &fs::read(name).unwrap());
    }
    assert!(names.contains(&binary), "{names:?}");
    assert!(needed.iter().all(|name| *name == "libmicrokit.so" || seen.contains(name)), "{seen:?}");
    count
}

fn kernel(left: &mut Unexplained) -> usize {
    let expected = [("[vvar]", "r--p"), ("[vvar_vclock]", "r--p"), ("[vdso]", "r-xp"), (VSYSCALL, "--xp")];
    let mut count = 0;
    for (name, rights) in expected {
        // Which of them there are is the kernel's affair: it can be built and started without.
        for (address, page) in left.take_named(name) {
            assert_eq!(page.rights, rights, "{name}");
            assert!(address < USER_TOP || name == VSYSCALL, "{address:#x}");
            count += 1;
        }
    }
    count
}

/// What is left is private memory without a file: the stack that exec made, the thread's own block, tables of the dynamic linker, and
/// the runtime's stack for signal handlers with its guard.
fn rest(left: &mut Unexplained) -> usize {
    /// Four times what it is with glibc 2.36.
    const MOST: usize = 64;
    let stack = left.take_named("[stack]");
    assert!(stack.iter().all(|(_, page)| page.rights == "rw-p" && page.is_anonymous()));
    let pages = std::mem::take(&mut left.pages);
    for (address, page) in &pages {
        let plain = page.is_anonymous() && page.name.is_empty();
        assert!(plain && ["rw-p", "---p"].contains(&page.rights.as_str()), "{address:#x}: {page:?}");
    }
    assert!(pages.len() <= MOST, "{} pages that nothing explains: {:#x?}", pages.len(), pages.keys());
    stack.len() + pages.len()
}

/// The memory behind a region is the same in all PDs that map it, and each PD's channel memory in its peers; nothing else is shared.
fn shared(scene: &Scene) -> String {
    let mut memory: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut users: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for (pd, pid) in scene.pds() {
        for page in pages(pid).values().filter(|page| page.rights.ends_with('s')) {
            memory.entry(page.name.clone()).or_default().insert(page.file.clone());
            users.entry(page.file.clone()).or_default().insert(&pd.name);
        }
    }
    for (name, files) in &memory {
        assert_eq!(files.len(), 1, "{name}");
    }
    let plan = scene.plan();
    let mut expected: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for pd in &plan.pds {
        for map in &pd.maps {
            expected.entry(format!("/memfd:{} (deleted)", map.name)).or_default().insert(&pd.name);
        }
        let own = expected.entry(format!("/memfd:channels:{} (deleted)", pd.name)).or_default();
        own.insert(&pd.name);
        own.extend(pd.ends.iter().map(|end| plan.pd(end.peer).name.as_str()));
        if !pd.children.is_empty() {
            expected.insert(
                format!("/memfd:supervisor:{} (deleted)", pd.name),
                BTreeSet::from([pd.name.as_str()]),
            );
        }
    }
    let seen: BTreeMap<String, BTreeSet<&str>> =
        memory.iter().map(|(name, files)| (name.clone(), users[files.first().unwrap()].clone())).collect();
    assert_eq!(seen, expected);
    format!("{} memories", seen.len())
}
