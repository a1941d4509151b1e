//! An empty root: a tmpfs that holds only the image becomes `/`, read-only, and the host's files are gone (pivot_root(2)).

#![forbid(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::sendfile::sendfile;
use nix::unistd::{chdir, pivot_root};

use super::handoff::Handoff;
use super::step::{Failure, Step};
use crate::sys::{descriptor, errno_of};

/// Where the tmpfs is mounted before it becomes the root. It exists on every host mk-sandbox can run on, since the launcher needs
/// procfs too.
const MOUNT_POINT: &str = "/proc";

const NONE: Option<&str> = None;

/// Returns the image's path in the new root. The file system allows execution, since dlopen maps the image executable from it.
/// `keep_old`, which only a test can ask for, leaves the host's root in place and the image in the tmpfs below it.
pub(super) fn make(handoff: &Handoff, keep_old: bool) -> Result<PathBuf, Failure> {
    let kernel =
        |what: &'static str| move |errno| Failure { detail: what.into(), ..Failure::new(Step::Root, errno) };
    let file_error = |what: &'static str| {
        move |error: io::Error| Failure { detail: what.into(), ..Failure::new(Step::Root, errno_of(&error)) }
    };
    let image = descriptor::reader(handoff.image).map_err(kernel("opening the image"))?;
    let size = image.metadata().map_err(file_error("reading the image"))?.len();

    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE)
        .map_err(kernel("making mounts private"))?;
    let restrictions = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    let options = format!("size={},nr_inodes=3,mode=0555", size.next_multiple_of(4096).max(4096));
    mount(Some("mk-sandbox"), MOUNT_POINT, Some("tmpfs"), restrictions, Some(options.as_str()))
        .map_err(kernel("mounting a tmpfs"))?;
    chdir(MOUNT_POINT).map_err(kernel("entering the new root"))?;

    let copy = File::options()
        .write(true)
        .create_new(true)
        .mode(0o555)
        .open(&handoff.image_name)
        .map_err(file_error("creating the image's file"))?;
    // By a place of its own: PDs of the same program have the same description, and so has a PD that is started again.
    let mut at = 0;
    while at < size as i64 {
        let left = usize::try_from(size as i64 - at).unwrap_or(0);
        if sendfile(&copy, &image, Some(&mut at), left).map_err(kernel("copying the image"))? == 0 {
            return Err(kernel("copying the image")(Errno::EIO));
        }
    }
    drop(copy);

    if keep_old {
        return Ok(PathBuf::from(MOUNT_POINT).join(&handoff.image_name));
    }
    pivot_root(".", ".").map_err(kernel("pivot_root"))?;
    umount2(".", MntFlags::MNT_DETACH).map_err(kernel("leaving the old root"))?;
    chdir("/").map_err(kernel("entering the new root"))?;
    let read_only = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
    mount(NONE, "/", NONE, read_only | restrictions, NONE).map_err(kernel("making the root read-only"))?;
    Ok(PathBuf::from("/").join(&handoff.image_name))
}
