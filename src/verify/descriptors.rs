//! Descriptors: exactly the plan's numbers, each the very pipe it should be, in its direction.

#![forbid(unsafe_code)]

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use super::{Checks, Scene};
use crate::launch::RunningPd;
use crate::plan::DescriptorKind;

pub(super) fn check(scene: &Scene, pd: &RunningPd, checks: &mut Checks) -> io::Result<()> {
    let pid = pd.child.pid;
    let mut found: Vec<(i32, String)> = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        let name = entry?.file_name();
        let Some(number) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        let target = fs::read_link(format!("/proc/{pid}/fd/{number}"))?;
        let info = fs::read_to_string(format!("/proc/{pid}/fdinfo/{number}"))?;
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap_or("").trim();
        let flags = i32::from_str_radix(flags, 8).unwrap_or(-1);
        found.push((number, describe(&target.to_string_lossy(), flags)));
    }
    found.sort();
    let mut expected: Vec<(i32, String)> = Vec::new();
    for descriptor in &checks.pd.descriptors {
        let (pipe, flags): (&OwnedFd, i32) = match descriptor.what {
            DescriptorKind::Console => (&scene.resources.consoles[pd.index.0].write, libc::O_WRONLY),
            DescriptorKind::Doorbell => (&scene.resources.doorbells[pd.index.0].read, libc::O_RDONLY),
            DescriptorKind::PeerDoorbell(peer) => {
                (&scene.resources.doorbells[peer.0].write, libc::O_WRONLY | libc::O_NONBLOCK)
            }
        };
        let inode = nix::sys::stat::fstat(pipe.as_fd())?.st_ino;
        expected.push((descriptor.fd, describe(&format!("pipe:[{inode}]"), flags)));
    }
    let words = |list: &[(i32, String)]| {
        list.iter().map(|(fd, what)| format!("{fd} {what}")).collect::<Vec<_>>().join(", ")
    };
    checks.equal("descriptors", words(&expected), words(&found));
    Ok(())
}

fn describe(target: &str, flags: i32) -> String {
    let direction = match flags & libc::O_ACCMODE {
        libc::O_RDONLY => "reads",
        libc::O_WRONLY => "writes",
        _ => "reads and writes",
    };
    let blocking = if flags & libc::O_NONBLOCK == 0 { "" } else { " without blocking" };
    format!("{direction}{blocking} {target}")
}
