//! The systems that are measured, as system description files.

#![forbid(unsafe_code)]

use std::fmt::Write as _;

use crate::sys::floor;

/// Addresses of regions, the same in every PD that maps one.
const ADDRESSES: u64 = 0x400_0000;
/// Bytes between two of them.
const STEP: u64 = 0x10_0000;

/// A system file in the making.
#[derive(Debug, Default)]
pub(super) struct Text {
    regions: String,
    pds: String,
    channels: String,
    addresses: Vec<String>,
}

/// A region in a PD: its name, its rights, and the image's variable for its address.
pub(super) type Map<'a> = (&'a str, &'a str, &'a str);

/// What every measuring PD maps: the numbers of the run, which the harness writes to a file of this name.
pub(super) const PARAMETERS: &str = "parameters";
pub(super) const PARAMETERS_MAP: Map = (PARAMETERS, "r", PARAMETERS);

impl Text {
    pub fn new() -> Self {
        let mut text = Self::default();
        let prefill =
            format!(r#"    <memory_region name="{PARAMETERS}" size="0x1000" prefill_path="{PARAMETERS}"/>"#);
        text.regions = prefill + "\n";
        text.addresses.push(PARAMETERS.into());
        text
    }

    pub fn region(mut self, name: &str, size: u64) -> Self {
        let _ = writeln!(self.regions, r#"    <memory_region name="{name}" size="{size:#x}"/>"#);
        self.addresses.push(name.into());
        self
    }

    /// A PD that runs the bench's program `image`.
    pub fn pd(mut self, name: &str, image: &str, priority: usize, maps: &[Map]) -> Self {
        let _ = writeln!(self.pds, r#"    <protection_domain name="{name}" priority="{priority}">"#);
        let _ = writeln!(self.pds, r#"        <program_image path="{image}.elf"/>"#);
        for (region, perms, variable) in maps {
            let place =
                self.addresses.iter().position(|known| known == region).unwrap_or(self.addresses.len());
            let vaddr = ADDRESSES + place as u64 * STEP;
            let _ = writeln!(
                self.pds,
                r#"        <map mr="{region}" vaddr="{vaddr:#x}" perms="{perms}" setvar_vaddr="{variable}"/>"#
            );
        }
        self.pds += "    </protection_domain>\n";
        self
    }

    /// Both may notify; the first may call the second if `calls`.
    pub fn channel(mut self, (pd, id): (&str, usize), peer: (&str, usize), calls: bool) -> Self {
        let pp = if calls { r#" pp="true""# } else { "" };
        let _ = writeln!(
            self.channels,
            r#"    <channel><end pd="{pd}" id="{id}"{pp}/><end pd="{}" id="{}"/></channel>"#,
            peer.0, peer.1
        );
        self
    }

    pub fn finish(self) -> String {
        format!("<system>\n{}{}{}</system>\n", self.regions, self.pds, self.channels)
    }
}

/// `client` calls `server`, which has as many channels as `server_channels` says; on the others nothing happens.
pub(super) fn call(server_channels: usize) -> String {
    let maps = &[PARAMETERS_MAP];
    let mut text = Text::new().pd("client", "call", 1, maps).pd("server", "call", 2, maps).channel(
        ("client", 0),
        ("server", 0),
        true,
    );
    if server_channels > 1 {
        text = text.pd("quiet", "call", 1, maps);
    }
    (1..server_channels).fold(text, |text, id| text.channel(("quiet", id), ("server", id), true)).finish()
}

/// A sender and a receiver of notify.c.
pub(super) fn notify(sender: &str, receiver: &str) -> String {
    let sender_maps = [PARAMETERS_MAP, ("arrivals", "r", "arrivals"), ("done", "rw", "done")];
    let receiver_maps = [PARAMETERS_MAP, ("arrivals", "rw", "arrivals"), ("done", "r", "done")];
    Text::new()
        .region("arrivals", 0x1000)
        .region("done", 0x1000)
        .pd(sender, "notify", 1, &sender_maps)
        .pd(receiver, "notify", 2, &receiver_maps)
        .channel((sender, 0), (receiver, 0), false)
        .finish()
}

/// restart.c: a parent and its child.
pub(super) fn restart() -> String {
    let text = Text::new().pd("parent", "restart", 2, &[PARAMETERS_MAP]).finish();
    let child = Text::new().pd("child", "restart", 1, &[PARAMETERS_MAP]).pds;
    let child = child.replace("name=\"child\"", "name=\"child\" id=\"1\"");
    text.replacen("    </protection_domain>\n", &format!("{child}    </protection_domain>\n"), 1)
}

/// ring.c: slots written by one, progress by each.
pub(super) fn ring() -> String {
    let maps = |slots, emptied| {
        [
            PARAMETERS_MAP,
            ("filled", slots, "filled"),
            ("emptied", emptied, "emptied"),
            ("slots", slots, "slots"),
        ]
    };
    Text::new()
        .region("filled", 0x1000)
        .region("emptied", 0x1000)
        .region("slots", 0x8_0000)
        .pd("producer", "ring", 1, &maps("rw", "r"))
        .pd("consumer", "ring", 2, &maps("r", "rw"))
        .channel(("producer", 0), ("consumer", 0), false)
        .finish()
}

/// `count` PDs of crowd.c on two priorities next to each other, so that none is starved on purpose. Each has channels to those some
/// places on, and calls those of the higher priority.
pub(super) fn crowd(count: usize) -> String {
    let name = |index: usize| format!("p{index:02}");
    let maps = [PARAMETERS_MAP, ("stop", "rw", "stop")];
    let mut text = Text::new().region("stop", 0x1000);
    for index in 0..count {
        text = text.pd(&name(index), "crowd", index % 2, &maps);
    }
    let mut next_id = vec![0; count];
    for distance in floor::CROWD_DISTANCES.into_iter().take_while(|distance| *distance < count) {
        for index in 0..count {
            let other = (index + distance) % count;
            let (one, other) = if index % 2 <= other % 2 { (index, other) } else { (other, index) };
            // Two PDs would meet twice in a crowd of two.
            if count > 2 || index == 0 {
                let calls = one % 2 < other % 2;
                text = text.channel((&name(one), next_id[one]), (&name(other), next_id[other]), calls);
                next_id[one] += 1;
                next_id[other] += 1;
            }
        }
    }
    text.finish()
}

/// `count` PDs of idle.c, each with a channel to the next.
pub(super) fn idle(count: usize) -> String {
    let name = |index: usize| format!("p{index:02}");
    let text = (0..count).fold(Text::new(), |text, index| text.pd(&name(index), "idle", index, &[]));
    (1..count).fold(text, |text, index| text.channel((&name(index - 1), 0), (&name(index), 1), true)).finish()
}

/// A PD of idle.c that maps `count` regions of two pages.
pub(super) fn regions(count: usize) -> String {
    let mut text = String::from("<system>\n");
    for index in 0..count {
        let _ = writeln!(text, r#"    <memory_region name="region_{index}" size="0x2000"/>"#);
    }
    text += "    <protection_domain name=\"p\"><program_image path=\"idle.elf\"/>\n";
    for index in 0..count {
        let vaddr = ADDRESSES + index as u64 * 0x1_0000;
        let _ = writeln!(text, r#"        <map mr="region_{index}" vaddr="{vaddr:#x}" perms="rw"/>"#);
    }
    text + "    </protection_domain>\n</system>\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::Source;
    use crate::sdf;

    #[test]
    fn every_system_is_valid() {
        let directory = std::env::temp_dir();
        for text in [
            call(1),
            call(62),
            notify("ringer", "busy"),
            restart(),
            ring(),
            crowd(2),
            crowd(3),
            crowd(63),
            idle(1),
            idle(63),
            regions(2000),
        ] {
            // Prefill files are looked for; here any file will do.
            let text = text.replace(r#" prefill_path="parameters""#, "");
            let source = Source { path: "bench.system".into(), text };
            let options =
                sdf::Options { search_path: vec![directory.clone()], arch: sdf::Arch::default(), cpus: 1 };
            if let Err(errors) = sdf::load(&source, &options) {
                panic!("{errors:?}\n{}", source.text);
            }
        }
    }
}
