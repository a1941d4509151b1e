//! Landlock: which rights a domain handles, that is, takes away. In a PD's every right and scope that both the host's kernel
//! and this program know is handled; while the image is loaded one rule gives back reading it, and afterwards a second,
//! nested domain without any rule takes that away too.

#![forbid(unsafe_code)]

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, Ruleset, RulesetAttr,
    RulesetCreated, RulesetError, Scope,
};

/// What the domain takes away on a host with some Landlock ABI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handled {
    /// Rights on files.
    pub fs: BitFlags<AccessFs>,
    /// Rights on the network; empty before ABI 4.
    pub net: BitFlags<AccessNet>,
    /// Signals and abstract sockets to the outside; empty before ABI 6.
    pub scope: BitFlags<Scope>,
}

/// What the one rule of the first domain gives back while the image is loaded: reading it. Everything mapped
/// executable is only read, in the kernel's eyes; the right to execute is about execve(2).
pub fn while_loading() -> BitFlags<AccessFs> {
    AccessFs::ReadFile.into()
}

/// Every right that Landlock ABI `abi` knows, as far as this program knows it; none for 0.
pub fn handled(abi: i32) -> Handled {
    let abi = ABI::from(abi);
    Handled { fs: AccessFs::from_all(abi), net: AccessNet::from_all(abi), scope: Scope::from_all(abi) }
}

impl Handled {
    /// A ruleset that takes all of it away; rules give back.
    ///
    /// # Errors
    /// The kernel cannot deny something of it.
    pub fn ruleset(self) -> Result<RulesetCreated, RulesetError> {
        let mut ruleset =
            Ruleset::default().set_compatibility(CompatLevel::HardRequirement).handle_access(self.fs)?;
        // An empty set is an error of the crate.
        if !self.net.is_empty() {
            ruleset = ruleset.handle_access(self.net)?;
        }
        if !self.scope.is_empty() {
            ruleset = ruleset.scope(self.scope)?;
        }
        ruleset.create()
    }

    /// The names of the rights as the kernel's documentation has them, without `LANDLOCK_ACCESS_`: `FS_EXECUTE`,
    /// `NET_BIND_TCP`, `SCOPE_SIGNAL`.
    pub fn names(&self) -> Vec<String> {
        let fs = self.fs.iter().map(|right| kernel_name("FS", &format!("{right:?}")));
        let net = self.net.iter().map(|right| kernel_name("NET", &format!("{right:?}")));
        let scope = self.scope.iter().map(|right| kernel_name("SCOPE", &format!("{right:?}")));
        fs.chain(net).chain(scope).collect()
    }
}

/// `FS` and `WriteFile` to `FS_WRITE_FILE`.
fn kernel_name(kind: &str, name: &str) -> String {
    let mut kernel = kind.to_owned();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() {
            kernel.push('_');
        }
        kernel.push(letter.to_ascii_uppercase());
    }
    kernel
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_right_of_the_abi_is_handled() {
        let bits = |abi| {
            let handled = handled(abi);
            (handled.fs.bits(), handled.net.bits(), handled.scope.bits())
        };
        // linux/landlock.h of the kernel that brought the ABI.
        assert_eq!(bits(0), (0, 0, 0));
        assert_eq!(bits(1), ((1 << 13) - 1, 0, 0));
        assert_eq!(bits(2), ((1 << 14) - 1, 0, 0));
        assert_eq!(bits(3), ((1 << 15) - 1, 0, 0));
        assert_eq!(bits(4), ((1 << 15) - 1, 3, 0));
        assert_eq!(bits(5), ((1 << 16) - 1, 3, 0));
        assert_eq!(bits(6), ((1 << 16) - 1, 3, 3));
        assert_eq!(bits(7), bits(6));
    }

    #[test]
    fn names_are_the_kernels() {
        let names = handled(6).names();
        for name in
            ["FS_EXECUTE", "FS_READ_FILE", "FS_IOCTL_DEV", "NET_BIND_TCP", "SCOPE_ABSTRACT_UNIX_SOCKET"]
        {
            assert!(names.iter().any(|known| known == name), "{name} in {names:?}");
        }
        assert_eq!(names.len(), 20);
    }
}
