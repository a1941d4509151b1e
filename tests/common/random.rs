//! Numbers that look random and are the same every time: Marsaglia's xorshift64.

// Each test program uses its own part of this.
#![allow(dead_code)]

/// From a seed that is not 0.
pub struct Random(pub u64);

impl Random {
    /// Any number but 0.
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}
