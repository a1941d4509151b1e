//! The largest system a file may describe, as text: for timing what is done before anything starts.

#![forbid(unsafe_code)]

use std::fmt::Write as _;

/// PDs, channels of each, and regions of the largest legal system that is timed. The first two are Microkit's limits.
pub const LARGEST: (usize, usize, usize) = (63, 62, 2000);

/// A system of `pds` PDs, every two of which share a channel, and of `regions` regions, each mapped by two PDs.
pub fn largest_system(pds: usize, regions: usize) -> String {
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<system>\n");
    for region in 0..regions {
        let _ =
            writeln!(text, r#"    <memory_region name="region_{region}" size="0x2000" page_size="0x1000"/>"#);
    }
    for pd in 0..pds {
        let _ = writeln!(text, r#"    <protection_domain name="domain_{pd}" priority="{pd}">"#);
        let _ = writeln!(text, r#"        <program_image path="domain_{pd}.elf"/>"#);
        let mapped = (0..regions).filter(|region| region % pds == pd || (region + 1) % pds == pd);
        for (place, region) in mapped.enumerate() {
            let vaddr = 0x400_0000 + place * 0x1_0000;
            let perms = if region % pds == pd { "rw" } else { "r" };
            let _ =
                writeln!(text, r#"        <map mr="region_{region}" vaddr="{vaddr:#x}" perms="{perms}"/>"#);
        }
        text += "    </protection_domain>\n";
    }
    for low in 0..pds {
        for high in low + 1..pds {
            let _ = writeln!(
                text,
                r#"    <channel><end pd="domain_{low}" id="{}" pp="true"/><end pd="domain_{high}" id="{low}"/></channel>"#,
                high - 1
            );
        }
    }
    text + "</system>\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::Source;
    use crate::sdf;

    #[test]
    fn it_is_legal_and_as_large_as_it_says() {
        let (pds, channels, regions) = LARGEST;
        let source = Source { path: "largest.system".into(), text: largest_system(pds, regions) };
        let options = sdf::Options { search_path: Vec::new(), arch: sdf::Arch::default(), cpus: 1 };
        let (system, warnings) = sdf::load(&source, &options).unwrap();
        assert_eq!((system.pds.len(), warnings.len()), (pds, 0));
        assert_eq!(system.channels.len(), pds * channels / 2);
        assert_eq!(system.regions.len(), regions);
    }
}
