//! `mk-sandbox doctor`: what the host offers for each layer, which tier follows, and what to change where it falls short.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use serde::Serialize;

use super::args::{DoctorArgs, Format};
use super::say;
use crate::exit::Exit;
use crate::sys::probe::{self, Finding, HostReport, Layer, Tier};

/// Prints the report. [`Exit::Host`] when the host enforces less than everything.
pub fn run(args: &DoctorArgs) -> Exit {
    let report = probe::host();
    let said = match args.format {
        Format::Human => say(&human(&report)),
        Format::Json => say(&format!("{}\n", json(&report))),
    };
    if report.tier() == Some(Tier::Full) { said } else { Exit::Host }
}

/// What `run` says when the host cannot enforce `tier`: each missing layer, why, and what to do. Several lines.
pub fn why_not(report: &HostReport, tier: Tier) -> String {
    let mut text = format!("this host cannot enforce the sandbox (tier {tier}):\n");
    let (not_tried, refused): (Vec<Layer>, Vec<Layer>) =
        report.missing(tier).into_iter().partition(|layer| report.finding(*layer) == Finding::NotTried);
    for layer in refused {
        text += &format!("  {}: {}\n", layer.title(), report.finding(layer));
        if let Some(advice) = advice(report, layer) {
            text += &format!("    {advice}\n");
        }
    }
    if !not_tried.is_empty() {
        let titles: Vec<&str> = not_tried.into_iter().map(Layer::title).collect();
        text += &format!("  not tried, since they stand on these: {}\n", titles.join(", "));
    }
    if tier == Tier::Full && report.tier() == Some(Tier::Compat) {
        text += "  to run without these layers, ask for it by name: --tier compat\n";
    }
    text
}

fn human(report: &HostReport) -> String {
    let mut text = format!("Linux {}, Landlock ABI {}\n\n", report.kernel, report.landlock_abi);
    for layer in Layer::ALL {
        let finding = report.finding(layer);
        let mark = match (finding, layer.needed_by()) {
            (Finding::Works, _) => "ok     ",
            (_, Tier::Full) => "lacking",
            (_, Tier::Compat) => "MISSING",
        };
        text += &format!("  {mark}  {}", layer.title());
        if finding != Finding::Works {
            text += &format!(": {finding}");
            if let Some(advice) = advice(report, layer) {
                text += &format!("\n           {advice}");
            }
        }
        text.push('\n');
    }
    text.push('\n');
    text += match report.tier() {
        Some(Tier::Full) => "Tier full: this host enforces the whole sandbox.\n",
        Some(Tier::Compat) => {
            "Tier compat: `run --tier compat` works here, without the layers marked as lacking.\n"
        }
        None => "No tier: nothing runs here until the layers marked MISSING work.\n",
    };
    text
}

/// The report's JSON form.
#[derive(Serialize)]
struct Json<'a> {
    tier: Option<Tier>,
    /// By layer, what to change.
    advice: BTreeMap<Layer, String>,
    #[serde(flatten)]
    report: &'a HostReport,
}

fn json(report: &HostReport) -> String {
    let advice = report
        .missing(Tier::Full)
        .into_iter()
        .filter_map(|layer| Some((layer, advice(report, layer)?)))
        .collect();
    let value = Json { tier: report.tier(), advice, report };
    serde_json::to_string_pretty(&value).unwrap_or_else(|error| format!("{{\"error\": \"{error}\"}}"))
}

/// What to change so that the layer works; `None` when it works, or when only another layer stands in its way.
pub fn advice(report: &HostReport, layer: Layer) -> Option<String> {
    let (errno, call) = match report.finding(layer) {
        Finding::Works | Finding::NotTried => return None,
        Finding::Refused { errno, call } => (errno, call),
        Finding::NoEffect => {
            return Some("a kernel or container runtime that only pretends cannot be worked around".into());
        }
    };
    let setting = |path: &str| report.settings.get(path).map(String::as_str);
    let container = "a container's seccomp profile refuses it: start the container with \
                     `--security-opt seccomp=unconfined`, or with a profile that allows it";
    let since = |major: u32, minor: u32| {
        if version(&report.kernel).is_some_and(|kernel| kernel < (major, minor)) {
            Some(format!("needs Linux {major}.{minor} or later; this is {}", report.kernel))
        } else if report.filtered {
            Some(container.to_owned())
        } else {
            Some("this kernel was built without it, or a security module forbids it".to_owned())
        }
    };
    match layer {
        Layer::Procfs => Some("mount it: mount -t proc proc /proc".into()),
        Layer::Clone3 if report.filtered => {
            Some(format!("{container} (Docker's default profile answers clone3 with ENOSYS)"))
        }
        Layer::Clone3 => since(5, 3),
        Layer::UserNamespace => Some(user_namespaces(report, errno, container)),
        Layer::MountNamespace
        | Layer::PidNamespace
        | Layer::NetNamespace
        | Layer::IpcNamespace
        | Layer::UtsNamespace
        | Layer::CgroupNamespace
        | Layer::TimeNamespace => Some(namespace(report, layer, errno, container)),
        Layer::IdMaps => Some("/proc/PID/uid_map must be writable: procfs may be mounted read-only".into()),
        Layer::Root if restricted_by_apparmor(report) => Some(apparmor()),
        Layer::Root => Some(match profile(report) {
            Some(profile) => format!(
                "AppArmor's profile `{profile}` forbids {call}: start the container with \
                 `--security-opt apparmor=unconfined`, or with a profile that allows mount and pivot_root"
            ),
            None if report.filtered => format!("{container} ({call})"),
            None => format!("a security module forbids {call} in a user namespace; its log says which"),
        }),
        Layer::Capabilities => since(2, 6),
        Layer::NoNewPrivs => since(3, 5),
        Layer::CloseRange => since(5, 9),
        Layer::MemfdSeals => since(3, 17),
        Layer::NoexecSeal | Layer::Mdwe => since(6, 3),
        Layer::Mseal => since(6, 10),
        Layer::Landlock if errno == libc::EOPNOTSUPP => Some(format!(
            "the kernel has Landlock, but it is off: add landlock to the lsm= list on the kernel's command line (now: {})",
            setting("/sys/kernel/security/lsm").unwrap_or("unknown")
        )),
        Layer::Landlock => since(5, 13),
        Layer::LandlockScopes => since(6, 12),
        Layer::Ptrace => match setting("/proc/sys/kernel/yama/ptrace_scope") {
            Some("3") => Some(
                "kernel.yama.ptrace_scope is 3, which forbids all tracing until the next boot: \
                 set it to 2 or lower in /etc/sysctl.d and boot again"
                    .into(),
            ),
            _ if report.filtered => Some(container.into()),
            _ => Some("a security module forbids tracing one's own child; its log says which".into()),
        },
        Layer::Seccomp => Some("needs a kernel built with CONFIG_SECCOMP_FILTER".into()),
    }
}

/// Major and minor number of a kernel release.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Ubuntu lets a program make a user namespace and then takes its capabilities in it away.
fn restricted_by_apparmor(report: &HostReport) -> bool {
    let path = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns";
    report.settings.get(path).is_some_and(|value| value != "0")
}

/// The AppArmor profile that this process is under, as `docker-default`; its mode is behind it.
fn profile(report: &HostReport) -> Option<&str> {
    let path = "/proc/self/attr/apparmor/current";
    let profile = report.settings.get(path)?.split(" (").next()?;
    (!profile.is_empty() && profile != "unconfined").then_some(profile)
}

fn apparmor() -> String {
    "AppArmor takes the privileges of unprivileged user namespaces away (Ubuntu's default): allow them for this program by \
     a profile with `userns,`, or for all by: sysctl kernel.apparmor_restrict_unprivileged_userns=0"
        .into()
}

fn user_namespaces(report: &HostReport, errno: i32, container: &str) -> String {
    let is = |path: &str, value: &str| report.settings.get(path).is_some_and(|found| found == value);
    if is("/proc/sys/kernel/unprivileged_userns_clone", "0") {
        return "turned off for ordinary users: sysctl kernel.unprivileged_userns_clone=1".into();
    }
    if is("/proc/sys/user/max_user_namespaces", "0") || errno == libc::ENOSPC {
        return "the limit is reached: sysctl user.max_user_namespaces=15000 (or fewer levels of nesting)"
            .into();
    }
    if restricted_by_apparmor(report) {
        return apparmor();
    }
    if report.filtered {
        return container.into();
    }
    match errno {
        libc::EINVAL => "needs a kernel built with CONFIG_USER_NS".into(),
        libc::EPERM => "not possible inside a chroot; otherwise a security module forbids it".into(),
        _ => "see user_namespaces(7)".into(),
    }
}

fn namespace(report: &HostReport, layer: Layer, errno: i32, container: &str) -> String {
    let (kind, option) = match layer {
        Layer::MountNamespace => ("mnt", "CONFIG_NAMESPACES"),
        Layer::PidNamespace => ("pid", "CONFIG_PID_NS"),
        Layer::NetNamespace => ("net", "CONFIG_NET_NS"),
        Layer::IpcNamespace => ("ipc", "CONFIG_IPC_NS"),
        Layer::UtsNamespace => ("uts", "CONFIG_UTS_NS"),
        Layer::CgroupNamespace => ("cgroup", "CONFIG_CGROUPS"),
        _ => ("time", "CONFIG_TIME_NS"),
    };
    match errno {
        libc::ENOSPC => format!("the limit is reached: sysctl user.max_{kind}_namespaces=15000"),
        libc::EINVAL => format!("needs a kernel built with {option}"),
        _ if restricted_by_apparmor(report) => apparmor(),
        _ if report.filtered => container.into(),
        _ => "a security module forbids it; its log says which".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A host where everything works but `layer`.
    fn without(layer: Layer, errno: i32, settings: &[(&'static str, &str)], filtered: bool) -> HostReport {
        let kernel = "5.2.0-1-amd64";
        let mut layers: BTreeMap<Layer, Finding> =
            Layer::ALL.into_iter().map(|layer| (layer, Finding::Works)).collect();
        layers.insert(layer, Finding::Refused { errno, call: "clone3" });
        HostReport {
            kernel: kernel.into(),
            landlock_abi: 2,
            layers,
            settings: settings.iter().map(|(path, value)| (*path, (*value).to_owned())).collect(),
            filtered,
        }
    }

    fn advised(layer: Layer, errno: i32, settings: &[(&'static str, &str)], filtered: bool) -> String {
        advice(&without(layer, errno, settings, filtered), layer).expect("there is advice")
    }

    #[test]
    fn known_causes_are_named() {
        let userns = |errno, settings: &[(&'static str, &str)], filtered| {
            advised(Layer::UserNamespace, errno, settings, filtered)
        };
        let debian = [("/proc/sys/kernel/unprivileged_userns_clone", "0")];
        assert!(userns(libc::EPERM, &debian, false).contains("sysctl kernel.unprivileged_userns_clone=1"));
        let none = [("/proc/sys/user/max_user_namespaces", "0")];
        assert!(userns(libc::ENOSPC, &none, false).contains("sysctl user.max_user_namespaces="));
        assert!(userns(libc::EPERM, &[], true).contains("--security-opt seccomp=unconfined"));
        let ubuntu = [("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1")];
        assert!(advised(Layer::Root, libc::EACCES, &ubuntu, false).contains("AppArmor"));
        let docker = [("/proc/self/attr/apparmor/current", "docker-default (enforce)")];
        let root = |settings: &[(&'static str, &str)]| advised(Layer::Root, libc::EACCES, settings, true);
        assert!(root(&docker).contains("`docker-default`") && root(&docker).contains("apparmor=unconfined"));
        assert!(root(&[("/proc/self/attr/apparmor/current", "unconfined")]).contains("seccomp=unconfined"));
        let yama = [("/proc/sys/kernel/yama/ptrace_scope", "3")];
        assert!(advised(Layer::Ptrace, libc::EPERM, &yama, false).contains("ptrace_scope is 3"));
        assert!(advised(Layer::Clone3, libc::ENOSYS, &[], true).contains("Docker's default profile"));
        assert!(advised(Layer::Landlock, libc::EOPNOTSUPP, &[], false).contains("lsm="));
        for (layer, version) in [
            (Layer::Clone3, "5.3"),
            (Layer::CloseRange, "5.9"),
            (Layer::Landlock, "5.13"),
            (Layer::Mdwe, "6.3"),
            (Layer::NoexecSeal, "6.3"),
            (Layer::Mseal, "6.10"),
            (Layer::LandlockScopes, "6.12"),
        ] {
            let advice = advised(layer, libc::ENOSYS, &[], false);
            assert!(advice.contains(&format!("Linux {version} or later")), "{advice}");
        }
    }

    #[test]
    fn a_version_is_asked_for_only_of_an_older_kernel() {
        let mut report = without(Layer::Mseal, libc::ENOSYS, &[], true);
        report.kernel = "6.10.3".into();
        let advice_on_new = advice(&report, Layer::Mseal).expect("there is advice");
        assert!(
            advice_on_new.contains("--security-opt") && !advice_on_new.contains("6.10"),
            "{advice_on_new}"
        );
        report.kernel = "6.9.12".into();
        let advice_on_old = advice(&report, Layer::Mseal).expect("there is advice");
        assert!(advice_on_old.contains("needs Linux 6.10 or later; this is 6.9.12"), "{advice_on_old}");
        assert_eq!(version("6.18.44-fc-v669"), Some((6, 18)));
        assert_eq!(version("rolling"), None);
    }

    #[test]
    fn every_refused_layer_has_advice() {
        for layer in Layer::ALL {
            for filtered in [false, true] {
                assert!(!advised(layer, libc::EPERM, &[], filtered).is_empty(), "{layer:?}");
            }
        }
    }

    #[test]
    fn the_tier_follows_from_what_is_missing() {
        for layer in Layer::ALL {
            let report = without(layer, libc::EPERM, &[], false);
            let optional =
                [Layer::Mseal, Layer::Mdwe, Layer::NoexecSeal, Layer::LandlockScopes].contains(&layer);
            assert_eq!(report.tier(), optional.then_some(Tier::Compat), "{layer:?}");
            assert_eq!(report.missing(Tier::Full), [layer]);
            let text = why_not(&report, Tier::Full);
            assert!(text.contains(layer.title()), "{text}");
            assert_eq!(text.contains("--tier compat"), optional, "{text}");
        }
    }
}
