//! The symbol hash tables. They are also the only place that says how many symbols there are.
//!
//! The dynamic linker indexes them with a name's hash and follows chains until a mark, all without bounds.

#![forbid(unsafe_code)]

use super::bytes::{LE, record, table};
use super::dynamic::Dynamic;
use super::error::Problem;
use super::segments::Layout;
use object::elf;
use object::endian::{LittleEndian, U32};
use std::ops::Range;

/// Longest chain. Linkers make as many buckets as keep chains at a few symbols; the dynamic linker walks one for each
/// relocation.
const CHAIN_MAX: usize = 256;

/// What is known after the check.
pub(super) struct Hash {
    /// Symbols that the table can reach: indexes below this.
    pub symbols: u64,
    /// Its bytes in the file.
    pub file: Range<u64>,
}

/// Checks the table that the dynamic linker will use: DT_GNU_HASH if it is there, else DT_HASH.
pub(super) fn read(bytes: &[u8], layout: &Layout, dynamic: &Dynamic) -> Result<Hash, Problem> {
    match (dynamic.get(elf::DT_GNU_HASH), dynamic.get(elf::DT_HASH)) {
        (Some(vaddr), _) => gnu(bytes, layout, vaddr),
        (None, Some(vaddr)) => sysv(bytes, layout, vaddr),
        (None, None) => Err(Problem::Dynamic { tag: "DT_GNU_HASH", why: "is missing, and so is DT_HASH" }),
    }
}

type Words<'a> = &'a [U32<LittleEndian>];

/// `count` words at `vaddr`, and where they end in the file.
fn words<'a>(bytes: &'a [u8], layout: &Layout, vaddr: u64, count: u64) -> Option<(Words<'a>, u64)> {
    let len = count.checked_mul(4)?;
    let offset = layout.table(vaddr, len)?;
    Some((table(bytes, offset, count)?, offset + len))
}

fn gnu(bytes: &[u8], layout: &Layout, vaddr: u64) -> Result<Hash, Problem> {
    let fault = |why| Problem::Table { table: ".gnu.hash", why };
    let outside = || fault("it is not inside the file's part of a read-only segment");
    if !vaddr.is_multiple_of(8) {
        return Err(fault("it is not aligned to 8 bytes"));
    }
    let start = layout.table(vaddr, 16).ok_or_else(outside)?;
    let header: &elf::GnuHashHeader<LittleEndian> = record(bytes, start).ok_or_else(outside)?;
    let first = u64::from(header.symbol_base.get(LE));
    let blooms = header.bloom_count.get(LE);
    if !blooms.is_power_of_two() {
        return Err(fault("its bloom filter's size is not a power of two"));
    }
    if header.bloom_shift.get(LE) >= 32 {
        return Err(fault("its bloom filter's shift is not below 32"));
    }
    let buckets = u64::from(header.bucket_count.get(LE));
    if buckets == 0 {
        // There is nothing to find, so the image has no entry points.
        return Err(fault("it is empty"));
    }
    // None of these sums can overflow: an address is below 1 GiB once a table is there, a count below 2^32.
    layout.table(vaddr + 16, u64::from(blooms) * 8).ok_or_else(outside)?;
    let buckets_at = vaddr + 16 + u64::from(blooms) * 8;
    let (bucket, end) = words(bytes, layout, buckets_at, buckets).ok_or_else(outside)?;
    let chains_at = buckets_at + buckets * 4;
    let used = || bucket.iter().map(|first| u64::from(first.get(LE))).filter(|&at| at != 0);
    if used().any(|at| at < first) {
        return Err(fault("a bucket begins before the first hashed symbol"));
    }
    let Some(last) = used().max() else {
        return Ok(Hash { symbols: first, file: start..end });
    };
    // The last chain's end is the end of all: every other chain begins before it, and so ends at its mark or before.
    let endless = || fault("its last chain has no end inside the segment");
    let mut symbols = last;
    loop {
        let at = chains_at + (symbols - first) * 4;
        let (word, _) = words(bytes, layout, at, 1).ok_or_else(endless)?;
        symbols += 1;
        if word[0].get(LE) & 1 != 0 {
            break;
        }
    }
    let (chain, end) = words(bytes, layout, chains_at, symbols - first).ok_or_else(endless)?;
    if chain.split(|word| word.get(LE) & 1 != 0).any(|links| links.len() >= CHAIN_MAX) {
        return Err(fault("a chain has more than 256 symbols"));
    }
    Ok(Hash { symbols, file: start..end })
}

fn sysv(bytes: &[u8], layout: &Layout, vaddr: u64) -> Result<Hash, Problem> {
    let fault = |why| Problem::Table { table: ".hash", why };
    let outside = || fault("it is not inside the file's part of a read-only segment");
    if !vaddr.is_multiple_of(4) {
        return Err(fault("it is not aligned to 4 bytes"));
    }
    let start = layout.table(vaddr, 8).ok_or_else(outside)?;
    let header: &elf::HashHeader<LittleEndian> = record(bytes, start).ok_or_else(outside)?;
    let buckets = u64::from(header.bucket_count.get(LE));
    let symbols = u64::from(header.chain_count.get(LE));
    if buckets == 0 {
        return Err(fault("it is empty"));
    }
    let (bucket, _) = words(bytes, layout, vaddr + 8, buckets).ok_or_else(outside)?;
    let chains_at = vaddr + 8 + buckets * 4;
    let (chain, end) = words(bytes, layout, chains_at, symbols).ok_or_else(outside)?;
    // Each symbol is in one chain only, so meeting one again means a loop.
    let mut met = vec![false; chain.len()];
    for first in bucket {
        let mut symbol = first.get(LE) as usize;
        let mut links = 0;
        while symbol != 0 {
            links += 1;
            if links > CHAIN_MAX {
                return Err(fault("a chain has more than 256 symbols"));
            }
            match met.get_mut(symbol) {
                None => return Err(fault("a chain leaves the symbol table")),
                Some(true) => return Err(fault("a chain meets a symbol twice")),
                Some(seen) => *seen = true,
            }
            symbol = chain[symbol].get(LE) as usize;
        }
    }
    Ok(Hash { symbols, file: start..end })
}
