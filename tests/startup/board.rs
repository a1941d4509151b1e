//! A page of words that this program shares with the launcher and the PD hosts it starts, so that they can be heard when they have no
//! descriptor and hardly a system call left.

#![allow(unsafe_code)]

use std::fs::{self, File, Permissions};
use std::num::NonZero;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use nix::sys::mman::{MapFlags, ProtFlags, mmap};

/// Far beyond what any start takes.
const LIMIT: Duration = Duration::from_secs(30);

const WORDS: usize = 64;
const BYTES: usize = WORDS * size_of::<AtomicI64>();

/// What a word holds before anybody writes it.
pub const BLANK: i64 = 0;

/// The page as this process has it mapped.
pub struct Board(&'static [AtomicI64; WORDS]);

impl Board {
    /// A blank one in a file that every user can map.
    pub fn create(path: &Path) -> Self {
        fs::write(path, [0; BYTES]).unwrap();
        fs::set_permissions(path, Permissions::from_mode(0o666)).unwrap();
        Self::open(path)
    }

    /// One that somebody else has created. It stays mapped while this process lives.
    pub fn open(path: &Path) -> Self {
        let file = File::options().read(true).write(true).open(path).unwrap();
        let length = NonZero::new(BYTES).unwrap();
        let rights = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping where the kernel likes.
        let start = unsafe { mmap(None, length, rights, MapFlags::MAP_SHARED, &file, 0) }.unwrap();
        // SAFETY: the mapping is page-aligned, as long as the array, never unmapped, and used through atomics alone.
        Self(unsafe { start.cast().as_ref() })
    }

    /// Writes a word.
    pub fn put(&self, word: usize, value: i64) {
        self.0[word].store(value, Ordering::Release);
    }

    /// Reads a word.
    pub fn get(&self, word: usize) -> i64 {
        self.0[word].load(Ordering::Acquire)
    }

    /// Waits until somebody has written the word. A process under a filter can wake nobody, so this looks until it is so.
    #[track_caller]
    pub fn wait_for(&self, word: usize) -> i64 {
        let deadline = Instant::now() + LIMIT;
        loop {
            match self.get(word) {
                BLANK => assert!(Instant::now() < deadline, "word {word} of the board stays blank"),
                value => return value,
            }
            std::thread::yield_now();
        }
    }
}
