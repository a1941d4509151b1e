//! The descriptors of each PD are the plan's, to the flag.

#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use mk_sandbox::plan::{DescriptorKind, PdPlan};
use nix::unistd::Pid;

use crate::cases::Cases;
use crate::scene::{LEAKS, Scene, read};

/// Adds the cases.
pub fn cases(cases: &mut Cases, scene: &Scene) {
    for (pd, pid) in scene.pds() {
        cases.case(&scene.case(&pd.name, "descriptors"), || exact(scene, pd, pid));
    }
    cases.case(&scene.case("system", "every pipe is for what the plan says"), || pipes(scene));
}

/// Number to what the kernel calls it.
fn open(pid: Pid) -> BTreeMap<i32, String> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    entries
        .map(|entry| {
            let entry = entry.unwrap();
            let link = fs::read_link(entry.path()).unwrap();
            let number = entry.file_name().to_string_lossy().parse().unwrap();
            (number, link.to_string_lossy().into_owned())
        })
        .collect()
}

fn exact(scene: &Scene, pd: &PdPlan, pid: Pid) -> String {
    let launcher = open(scene.launcher());
    assert!(
        LEAKS.iter().all(|fd| launcher.contains_key(fd)),
        "the launcher has nothing to leak: {launcher:?}"
    );
    let open = open(pid);
    let planned: Vec<i32> = pd.descriptors.iter().map(|held| held.fd).collect();
    assert_eq!(open.keys().copied().collect::<Vec<_>>(), planned, "{open:?}");
    for held in &pd.descriptors {
        assert!(open[&held.fd].starts_with("pipe:["), "{}: {}", held.fd, open[&held.fd]);
        let info = read(pid, &format!("fdinfo/{}", held.fd));
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap().trim();
        // As open(2) has them, in octal; no O_CLOEXEC, since there is no exec.
        let expected = match held.what {
            DescriptorKind::Console => libc::O_WRONLY,
            DescriptorKind::Doorbell => libc::O_RDONLY,
            DescriptorKind::PeerDoorbell(_) => libc::O_WRONLY | libc::O_NONBLOCK,
        };
        assert_eq!(i32::from_str_radix(flags, 8), Ok(expected), "{}: {flags}", held.fd);
    }
    format!("{planned:?}, all of them pipes in the right direction")
}

fn pipes(scene: &Scene) -> String {
    let pds = &scene.plan().pds;
    let own = |index: usize, what: DescriptorKind| {
        let held = pds[index].descriptors.iter().find(|held| held.what == what).unwrap();
        open(scene.pid(pds[index].index))[&held.fd].clone()
    };
    let mut all = BTreeSet::new();
    let mut rung = 0;
    for (index, pd) in pds.iter().enumerate() {
        let open = open(scene.pid(pd.index));
        all.insert(own(index, DescriptorKind::Console));
        all.insert(own(index, DescriptorKind::Doorbell));
        for held in &pd.descriptors {
            let expected = match held.what {
                DescriptorKind::PeerDoorbell(peer) => {
                    rung += 1;
                    own(peer.0, DescriptorKind::Doorbell)
                }
                what => own(index, what),
            };
            assert_eq!(open[&held.fd], expected, "`{}` {}", pd.name, held.fd);
        }
    }
    assert_eq!(all.len(), 2 * pds.len(), "a console and a doorbell for each PD: {all:?}");
    assert!(rung > 0, "no PD holds another's doorbell, so this would show nothing");
    format!("{} pipes, {rung} ends at peers", all.len())
}
