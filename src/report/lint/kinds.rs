//! Every kind of finding: its id, its level, and what `mk-sandbox explain` says. Ids are a contract with scripts, baselines and
//! comments in system files: none is ever renamed or reused.

#![forbid(unsafe_code)]

use super::Level;

/// A kind of finding.
#[derive(Debug, PartialEq, Eq)]
pub struct Lint {
    /// Its name for ever.
    pub id: &'static str,
    /// Unless the command line says otherwise.
    pub level: Level,
    /// What it finds, a noun phrase.
    pub title: &'static str,
    /// Why it matters.
    pub why: &'static str,
    /// What to do.
    pub fix: &'static str,
    /// Whether the file or the command line may change its level: not where the answer is the point of the check.
    pub adjustable: bool,
    /// Whether it can be found only when the images are there.
    pub needs_images: bool,
}

macro_rules! lints {
    ($($name:ident $id:literal $level:ident $($flag:ident)* $title:literal $why:literal $fix:literal;)*) => {
        $(
            #[doc = concat!("`", $id, "`: ", $title, ".")]
            pub static $name: Lint = flagged(Lint {
                id: $id,
                level: Level::$level,
                title: $title,
                why: $why,
                fix: $fix,
                adjustable: true,
                needs_images: false,
            }, &[$(stringify!($flag)),*]);
        )*
        /// Every kind, in the order of `mk-sandbox explain`.
        pub static ALL: &[&Lint] = &[$(&$name),*];
    };
}

const fn flagged(mut lint: Lint, flags: &[&str]) -> Lint {
    let mut at = 0;
    while at < flags.len() {
        // `str` cannot be compared in a constant; the flags begin with different letters.
        match flags[at].as_bytes()[0] {
            b'f' => lint.adjustable = false,
            _ => lint.needs_images = true,
        }
        at += 1;
    }
    lint
}

/// The kind with this id.
pub fn by_id(id: &str) -> Option<&'static Lint> {
    ALL.iter().copied().find(|lint| lint.id == id)
}

/// Its place in [`ALL`].
pub fn position(lint: &Lint) -> usize {
    ALL.iter().position(|other| other.id == lint.id).unwrap_or(ALL.len())
}

lints! {
    INVALID_SYSTEM "invalid-system" Deny fixed
        "the file is no valid system description"
        "A rule of Microkit's system description is broken; Microkit's own tool refuses the file too, and nothing can be said about what it grants."
        "The message says what would be right.";
    CALL_PRIORITY "call-priority" Deny fixed
        "a call to a PD whose priority is not higher"
        "A caller waits until the callee answers. If the callee may be kept from running by PDs that the caller outranks, the caller waits for them all (priority inversion); and only because priorities rise along every call can PDs not call each other in a circle and wait for ever. Microkit's rules forbid it, so the file is invalid."
        "Give the PD that serves a higher priority than all its callers.";
    SYSTEM_WARNING "system-warning" Warn
        "a warning of the system description's reader that has no kind of its own"
        "The file is valid, but something in it has no effect or not the expected one."
        "The message says what would be right.";

    MAP_WRITABLE_EXECUTABLE "map-writable-executable" Deny
        "a PD that may write and execute the same memory"
        "Whoever makes such a PD write what it should not makes it run what it should not: it is the step from a bug in data to foreign code. `run` refuses the system unless it is started with --allow wx."
        "Give the PD either w or x. Where code is really made at run time, let one PD write it and another execute it.";
    REGION_WRITTEN_AND_EXECUTED "region-written-and-executed" Warn
        "a region that one PD writes and another executes"
        "The writer decides what the other PD runs, with the other's rights: in effect it has the rights of both."
        "Prefill the region and map it without w everywhere, or allow it for a loader that is trusted with that.";
    REGION_WRITABLE_BY_MANY "region-writable-by-many" Warn
        "a region that more than two PDs may write"
        "Any of them can change what the others rely on, and afterwards nobody can tell which one did. Data that has one writer needs no trust between readers and writers of other data."
        "Give each writer a region of its own and map it r elsewhere, as examples/ring does.";
    REGION_WRITABLE_AT_BOTH_ENDS "region-writable-at-both-ends" Note
        "a region that two PDs may write"
        "Each can overwrite the other's data, also after it was checked. That is right for a buffer that both fill, and more than needed where data flows one way."
        "Where data flows one way, map the region r for the reader; for two ways use two regions.";
    MAPS_WITHOUT_GUARD "maps-without-guard" Warn
        "two maps of a PD with no page between them"
        "mk-sandbox surrounds regions with inaccessible pages, so that a run past the end is a fault. Where the next region begins at once there is no room for one, and the overflow lands in the other region."
        "Leave at least a page (0x1000 bytes) between the end of one map and the next vaddr.";
    REGION_DIFFERENT_RIGHTS "region-mapped-with-different-rights" Warn
        "a region that one PD maps twice with different rights"
        "The PD has the sum of the rights, whichever address it uses; the map with fewer rights protects nothing."
        "Map it once with the rights it needs.";
    REGION_WITHOUT_CHANNEL "region-shared-without-channel" Warn
        "shared memory between PDs that have no channel"
        "Without a notification the reader can only poll, and a right that nobody can use in an orderly way is often a mistake: the wrong region, or a channel that was removed."
        "Add the channel, or take the map away.";
    REGION_UNUSED "region-unused" Warn
        "a region that nothing maps"
        "It grants nothing, but a reader of the file will look for who uses it."
        "Map it or remove it.";

    CHANNEL_WITHOUT_RIGHTS "channel-without-rights" Warn
        "a channel over which nobody may notify or call"
        "Both ends say notify=\"false\" and neither says pp=\"true\": the channel exists and can do nothing."
        "Give one end a right, or remove the channel.";
    CHANNEL_UNUSED "channel-unused" Warn images
        "a channel whose rights neither image uses"
        "Neither image calls the function that its end would need (microkit_notify, microkit_deferred_notify, microkit_ppcall), so the channel is a right nobody needs."
        "Remove the channel, or take the unused right from each end (notify=\"false\").";
    PD_UNREACHABLE "pd-unreachable" Note
        "a PD that nothing can wake after `init`"
        "No other PD may notify or call it, it has no interrupt and no children: once `init` returns it never runs again. That is right for a PD that does all its work in `init`."
        "Add the channel that should wake it, or allow it.";
    CALL_CYCLE "call-cycle" Warn
        "a PD that would wait for itself when a callee faults"
        "A PD that faults stops until its parent has handled the fault. If the parent is just waiting for an answer of that PD, directly or through others, neither ever runs again: calls lead to higher priorities and cannot form a circle, but a call and a fault can."
        "Let a parent notify its children instead of calling them, or give the faulting PD another parent.";
    PROTECTED_MISSING "call-without-protected" Warn images
        "a PD that can be called and has no `protected`"
        "A channel lets another PD call this one, but its image defines no `protected`, so a call is answered by a default that only prints an error."
        "Define microkit_msginfo protected(microkit_channel, microkit_msginfo), or remove pp=\"true\" from the caller's end.";
    FAULT_MISSING "children-without-fault" Warn images
        "a PD with children and without `fault`"
        "The faults of children are handed to their parent. Its image defines no `fault`, so they are handled by a default that only prints them, and the child stays stopped."
        "Define seL4_Bool fault(microkit_child, microkit_msginfo, microkit_msginfo *), or move the children out.";

    PRIORITY_INVERSION "priority-inversion" Warn
        "a PD that waits for one with a lower priority, which others can hold up"
        "Two PDs notify each other, and one has the higher priority. While it waits for an answer, any PD with a priority in between keeps the lower one from running: the high-priority PD is then as slow as the slowest of them."
        "Turn the request into a call (the server then has the higher priority), or bring the two priorities together.";
    FULL_BUDGET "full-budget-at-top-priority" Note
        "the highest priority without a limit on its time"
        "With budget equal to period nothing ever interrupts this PD: if it loops, no PD of lower priority on its CPU runs again."
        "Give it a budget below its period, as large as its longest work needs.";
    INERT_DEVICE "inert-device" Warn
        "a device that is not there on Linux"
        "Interrupts never arrive, I/O ports read as all ones, and memory at a physical address is ordinary memory. The ids, symbols and addresses work, so programs start; a driver will find nothing to drive."
        "Replace the driver by one that needs no device, or allow it.";
    NOT_RUNNABLE "not-runnable" Note
        "something that is valid and that `run` refuses"
        "The system description is right, but this version has no counterpart on Linux for that part of it."
        "`check`, `show`, `graph` and `lock` work; remove it to run the system here.";

    IMAGE_NOT_FOUND "image-not-found" Warn
        "an image that is not in the search path"
        "`run` needs it, and what `check` says about images is said only of those it finds."
        "Build it first, or name its directory with --search-path.";
    IMAGE_REFUSED "image-refused" Deny images
        "an image that `run` would refuse"
        "The dynamic linker would follow whatever is in the file before the sandbox is closed, so an image that is damaged, of another kind or lacks its entry points is not loaded."
        "The message says what would be right.";
    IMAGE_WRITABLE_EXECUTABLE "image-writable-executable" Deny images
        "an image with a segment that is writable and executable"
        "A bug that writes where it should not then becomes foreign code. No memory of a PD is both, so `run` refuses the image."
        "Leave out -Wl,-N, --omagic and hand-written section flags.";
    IMAGE_EXECUTABLE_STACK "image-executable-stack" Deny images
        "an image that asks for an executable stack"
        "An overflow of a buffer on the stack could then run what it wrote. `run` refuses the image."
        "Link with -Wl,-z,noexecstack; assembly files need a .note.GNU-stack section.";
    IMAGE_TEXT_RELOCATIONS "image-text-relocations" Deny images
        "an image whose code would be changed while it is loaded"
        "Code would have to be writable for that moment, in a process where foreign bytes are already mapped. `run` refuses the image."
        "Compile every source with -fPIC and link with -Wl,-z,text.";
    IMAGE_SEARCH_PATH "image-search-path" Deny images
        "an image with a library search path of its own (RPATH, RUNPATH)"
        "The image would decide which files the dynamic linker opens. `run` refuses it."
        "Link without -rpath.";
    IMAGE_INDIRECT_FUNCTION "image-indirect-function" Deny images
        "an image with indirect functions (IFUNC)"
        "Their resolvers are code of the image that would run while it is loaded, before the sandbox is closed. `run` refuses the image."
        "Choose the function in init() instead of __attribute__((ifunc)) or target_clones.";
    IMAGE_FOREIGN_LIBRARY "image-foreign-library" Deny images
        "an image that needs a library PDs do not get"
        "Every library is more foreign code in the PD, loaded before the sandbox is closed. PDs get libmicrokit, the C library, its mathematics and the compiler's support library, and `run` refuses images that need others."
        "Link the code into the image statically.";
    IMAGE_WITHOUT_RELRO "image-without-relro" Warn images
        "an image whose tables of pointers stay writable (no RELRO)"
        "The table through which the image calls other code is the usual target of an overflow. With RELRO it is read-only, and sealed, before the image runs."
        "Link with -Wl,-z,relro, as mk-sandbox cc does.";
    IMAGE_WITHOUT_BIND_NOW "image-without-bind-now" Warn images
        "an image linked for lazy binding (no BIND_NOW)"
        "mk-sandbox binds every symbol at start in any case, but RELRO covers the whole table of calls only in an image that was linked for it."
        "Link with -Wl,-z,now, as mk-sandbox cc does.";
    IMAGE_IMPORTS_DENIED "image-imports-denied" Warn images
        "an image that imports functions whose system calls its PD may never make"
        "A call of such a function is a fault of the PD. Either that is a bug that a test has not met yet, or the code is not what it should be."
        "Do without the function: files, sockets, processes and threads do not exist in a PD. What is not reached can be left out with -ffunction-sections -Wl,--gc-sections.";
    SETVAR_SYMBOL "setvar-symbol" Deny images
        "a variable that the system file sets and the image does not have"
        "The system file names a symbol that is missing from the image, there more than once, or of the wrong size. `run` refuses the system."
        "Define the variable in the image, or remove the setvar.";

    ALLOW_MALFORMED "allow-malformed" Deny fixed
        "an mk-allow comment that allows nothing"
        "It names no kind of finding, a kind that cannot be allowed, or no reason; a reader would take the finding for settled."
        "Write <!-- mk-allow ID: reason -->.";
    ALLOW_UNUSED "allow-unused" Warn fixed
        "an mk-allow comment for something that is not found"
        "The finding is gone or stands elsewhere. A comment that stays would hide the next one of its kind."
        "Remove the comment.";
    LOCK_MISSING "lock-missing" Deny fixed
        "check --locked without a readable lock file"
        "There is nothing to compare the rights with."
        "Write it with `mk-sandbox lock SYSTEM`, review it and commit it.";
    PRIVILEGE_GREW "privilege-grew" Deny fixed
        "a PD that has a right which the lock file does not list"
        "Somebody changed the system file, or the policy of PDs, so that a PD may do more. That is what a review has to see."
        "If it is meant: run `mk-sandbox lock SYSTEM` and have the change of the lock file reviewed.";
    PRIVILEGE_SHRANK "privilege-shrank" Deny fixed
        "a PD that lacks a right which the lock file lists"
        "Less privilege is good, but a lock file that lists more than there is would let it grow back unseen."
        "Run `mk-sandbox lock SYSTEM`.";
    PRIVILEGE_CHANGED "privilege-changed" Deny fixed
        "a right that is another one than in the lock file"
        "An image, an address, a priority or a device is not the one that was reviewed."
        "If it is meant: run `mk-sandbox lock SYSTEM` and have the change of the lock file reviewed.";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ids_are_unique_words_and_texts_are_sentences() {
        let ids: BTreeSet<&str> = ALL.iter().map(|lint| lint.id).collect();
        assert_eq!(ids.len(), ALL.len());
        for lint in ALL {
            assert!(lint.id.chars().all(|c| c.is_ascii_lowercase() || c == '-'), "{}", lint.id);
            assert!(lint.why.ends_with('.') && lint.fix.ends_with('.'), "{}", lint.id);
            assert!(!lint.title.ends_with('.'), "{}", lint.id);
            assert_eq!(by_id(lint.id), Some(*lint));
        }
        assert!(IMAGE_REFUSED.needs_images && !IMAGE_NOT_FOUND.needs_images && !REGION_UNUSED.needs_images);
        assert!(!INVALID_SYSTEM.adjustable && REGION_UNUSED.adjustable && !ALLOW_UNUSED.adjustable);
    }
}
