//! Which tier a run has: the one asked for, or none. There is no way down by itself.

#![forbid(unsafe_code)]

use super::doctor::why_not;
use crate::exit::Exit;
use crate::pd::Without;
use crate::sys::probe::{self, HostReport, Layer, Tier};

/// What the launcher needs to know about the host, once it is known to be enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granted {
    /// Landlock ABI of the kernel, at least 1.
    pub landlock_abi: i32,
    /// What this host lacks and the tier does without; nothing in `full`.
    pub without: Without,
}

/// What a run of this tier can count on. In tier full that is everything: the start takes each layer and looks for its effect in
/// every PD before any image runs, so here only that is asked which no start would notice, and a start that fails is explained
/// by [`explain`]. For a lower tier the host is looked at first, which takes as long as a start; what is missing is announced on
/// standard error.
///
/// # Errors
/// [`Exit::Host`], explained.
pub fn require(tier: Tier) -> Result<Granted, Exit> {
    if tier == Tier::Full
        && let Ok(landlock_abi) = probe::landlock_abi()
        && landlock_abi >= probe::SCOPES_SINCE
        && probe::noexec_seal()
    {
        return Ok(Granted { landlock_abi, without: Without::default() });
    }
    let host = probe::host();
    let granted = judge(&host, tier).map_err(told)?;
    if tier != Tier::Full {
        super::told::say(&announcement(&host, tier));
    }
    Ok(granted)
}

/// Says on standard error what of the tier this host does not enforce, if anything.
///
/// # Errors
/// [`Exit::Host`] when it has.
pub fn explain(tier: Tier) -> Result<(), Exit> {
    judge(&probe::host(), tier).map(drop).map_err(told)
}

fn told(why: String) -> Exit {
    super::told::tell(why.trim_end());
    Exit::Host
}

/// Pure: what a host with these facts gives a run at this tier, or why it must not run.
fn judge(host: &HostReport, tier: Tier) -> Result<Granted, String> {
    if !host.missing(tier).is_empty() {
        return Err(why_not(host, tier));
    }
    let without = Without { mseal: !host.works(Layer::Mseal), mdwe: !host.works(Layer::Mdwe) };
    Ok(Granted { landlock_abi: host.landlock_abi, without })
}

fn announcement(host: &HostReport, tier: Tier) -> String {
    let missing: Vec<&str> = host.missing(Tier::Full).into_iter().map(Layer::title).collect();
    match missing.as_slice() {
        [] => format!("tier {tier}; this host enforces everything all the same"),
        missing => format!("tier {tier}: this system runs without {}", missing.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::probe::Finding;

    fn host(missing: &[Layer]) -> HostReport {
        let finding = |layer| match missing.contains(&layer) {
            true => Finding::Refused { errno: libc::ENOSYS, call: "a call" },
            false => Finding::Works,
        };
        HostReport {
            kernel: "6.12.0".into(),
            landlock_abi: 6,
            layers: Layer::ALL.into_iter().map(|layer| (layer, finding(layer))).collect(),
            settings: Default::default(),
            filtered: false,
        }
    }

    #[test]
    fn nothing_is_left_out_without_being_asked() {
        let everything = Granted { landlock_abi: 6, without: Without { mseal: false, mdwe: false } };
        assert_eq!(judge(&host(&[]), Tier::Full), Ok(everything));
        assert_eq!(judge(&host(&[]), Tier::Compat), Ok(everything));
        let lacking = host(&[Layer::Mseal]);
        let why = judge(&lacking, Tier::Full).expect_err("mseal is part of full");
        assert!(why.contains("mseal") && why.contains("--tier compat"), "{why}");
        let without = Without { mseal: true, mdwe: false };
        assert_eq!(judge(&lacking, Tier::Compat), Ok(Granted { landlock_abi: 6, without }));
        assert!(announcement(&lacking, Tier::Compat).contains("mseal"));
    }

    #[test]
    fn no_tier_does_without_the_rest() {
        for layer in Layer::ALL {
            if layer.needed_by() == Tier::Compat {
                assert!(judge(&host(&[layer]), Tier::Compat).is_err(), "{layer:?}");
            }
        }
    }
}
