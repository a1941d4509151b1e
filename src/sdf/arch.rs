//! Which of Microkit's architectures a system description is judged for.

#![forbid(unsafe_code)]

use std::fmt;
use std::str::FromStr;

/// `--arch`: the rules to judge by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Arch {
    /// Accepts what any of the three accepts.
    #[default]
    Any,
    /// x86_64
    X86_64,
    /// AArch64
    Aarch64,
    /// RISC-V, 64 bits
    Riscv64,
}

impl Arch {
    /// Every choice, in the order of the help text.
    pub const ALL: [Self; 4] = [Self::Any, Self::X86_64, Self::Aarch64, Self::Riscv64];

    /// As it is written on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
            Self::Riscv64 => "riscv64",
        }
    }

    /// First address above user memory, in bytes: `USER_TOP` of seL4's configurations that
    /// Microkit ships. `Any` takes the largest, that of AArch64 with 48 bits.
    pub(super) fn user_top(self) -> u64 {
        match self {
            Self::X86_64 => 0x7fff_ffff_f000,
            Self::Any | Self::Aarch64 => 0x8000_0000_0000,
            Self::Riscv64 => 0x3f_ffff_f000,
        }
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A word that names no architecture.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no architecture: any, x86_64, aarch64 or riscv64")]
pub struct UnknownArch(String);

impl FromStr for Arch {
    type Err = UnknownArch;

    fn from_str(name: &str) -> Result<Self, UnknownArch> {
        let found = Self::ALL.into_iter().find(|arch| arch.name() == name);
        found.ok_or_else(|| UnknownArch(name.to_owned()))
    }
}

/// The architectures that everything read so far can be for. `Arch::Any` begins with all three and
/// loses those that an element excludes: a file for none of them is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ArchSet(u8);

impl ArchSet {
    pub(super) const X86_64: Self = Self(1);
    pub(super) const AARCH64: Self = Self(2);
    pub(super) const RISCV64: Self = Self(4);

    pub(super) const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(super) const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl From<Arch> for ArchSet {
    fn from(arch: Arch) -> Self {
        match arch {
            Arch::Any => Self::X86_64.or(Self::AARCH64).or(Self::RISCV64),
            Arch::X86_64 => Self::X86_64,
            Arch::Aarch64 => Self::AARCH64,
            Arch::Riscv64 => Self::RISCV64,
        }
    }
}

impl fmt::Display for ArchSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = Arch::ALL[1..]
            .iter()
            .filter(|arch| !self.and(Self::from(**arch)).is_empty())
            .map(|arch| arch.name())
            .collect();
        f.write_str(&names.join(" or "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for arch in Arch::ALL {
            assert_eq!(arch.to_string().parse(), Ok(arch));
        }
        assert!("x86".parse::<Arch>().unwrap_err().to_string().contains("`x86`"));
    }

    #[test]
    fn sets_narrow_down() {
        let arm = ArchSet::AARCH64.or(ArchSet::RISCV64);
        assert_eq!(ArchSet::from(Arch::Any).and(arm), arm);
        assert!(arm.and(ArchSet::X86_64).is_empty());
        assert_eq!(arm.to_string(), "aarch64 or riscv64");
    }
}
