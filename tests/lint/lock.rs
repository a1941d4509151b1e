//! `lock`, and `check --locked` against a system that changed.

use std::fs;
use std::path::PathBuf;

use super::support::{code, err, images, out, program, scratch};

const SYSTEM: &str = "<system>
    <memory_region name=\"shared\" size=\"0x2000\"/>
    <memory_region name=\"private\" size=\"0x1000\"/>
    <protection_domain name=\"server\" priority=\"5\" budget=\"500\" period=\"1000\">
        <program_image path=\"complete.elf\"/>
        <map mr=\"shared\" vaddr=\"0x4000000\" perms=\"rw\"/>
        <map mr=\"private\" vaddr=\"0x5000000\" perms=\"rw\"/>
    </protection_domain>
    <protection_domain name=\"client\" priority=\"4\">
        <program_image path=\"complete.elf\"/>
        <map mr=\"shared\" vaddr=\"0x4000000\" perms=\"r\"/>
    </protection_domain>
    <channel><end pd=\"client\" id=\"1\" notify=\"false\"/><end pd=\"server\" id=\"2\"/></channel>
</system>
";

/// A system with its lock file in a directory of its own.
struct Locked {
    system: PathBuf,
}

impl Locked {
    fn new(test: &str) -> Self {
        let system = scratch(test).join("a.system");
        fs::write(&system, SYSTEM).expect("writable");
        let locked = Self { system };
        let output = locked.run("lock", &[]);
        assert_eq!(code(&output), 0, "{}", err(&output));
        locked
    }

    fn run(&self, command: &str, more: &[&str]) -> std::process::Output {
        let images = images().to_str().expect("UTF-8");
        let mut all = vec![command, "--search-path", images];
        all.extend(more);
        all.push(self.system.to_str().expect("UTF-8"));
        program(&all)
    }

    fn lock_file(&self) -> PathBuf {
        self.system.with_extension("system.lock")
    }

    /// The privilege diff after these replacements in the system file, which all must be there.
    fn diff(&self, replacements: &[(&str, &str)]) -> String {
        let mut text = SYSTEM.to_owned();
        for (from, to) in replacements {
            assert!(text.contains(from), "{from}");
            text = text.replacen(from, to, 1);
        }
        fs::write(&self.system, text).expect("writable");
        let output = self.run("check", &["--locked", "--allow", "warnings", "--allow", "notes"]);
        let told = err(&output);
        assert_eq!(code(&output), i32::from(!told.is_empty()), "{told}");
        told.replace(self.system.to_str().expect("UTF-8"), "a.system")
    }
}

#[test]
fn the_lock_lists_every_right_one_a_line_in_an_order_of_its_own() {
    let locked = Locked::new("lock_lists");
    let text = fs::read_to_string(locked.lock_file()).expect("written");
    for line in [
        r#"{"name":"shared","size":"0x2000"}"#,
        r#"{"perms":"rw","region":"shared","vaddr":"0x4000000"}"#,
        r#"{"call":false,"id":2,"notify":true,"peer":"client","peer_id":1}"#,
        r#""read","#,
        r#""write""#,
    ] {
        assert!(
            text.lines().any(|own| own.trim().trim_end_matches(',') == line.trim_end_matches(',')),
            "{line}\n{text}"
        );
    }
    let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let hash = json["pds"]["client"]["image"]["sha256"].as_str().expect("a hash");
    assert!(hash.len() == 64 && hash.chars().all(|digit| digit.is_ascii_hexdigit()));
    assert_eq!(json["pds"]["client"]["scheduling"]["priority"], 4);

    // Another order in the file, comments and blanks are no change.
    let (head, rest) = SYSTEM.split_once("    <protection_domain name=\"server\"").expect("there");
    let (server, rest) = rest.split_once("    </protection_domain>\n").expect("there");
    let (client, tail) = rest.split_once("    </protection_domain>\n").expect("there");
    let close = "    </protection_domain>\n";
    let turned = format!(
        "{head}<!-- turned -->\n{client}{close}\n    <protection_domain name=\"server\"{server}{close}{tail}"
    );
    fs::write(&locked.system, turned).expect("writable");
    assert_eq!(code(&locked.run("check", &["--locked"])), 0);
    let output = locked.run("lock", &["--output", "-"]);
    assert_eq!(out(&output), text);
}

#[test]
fn no_change_is_no_drift() {
    assert_eq!(Locked::new("no_drift").diff(&[]), "");
}

#[test]
fn what_grows_is_told_in_words_and_at_its_place() {
    let locked = Locked::new("grows");
    let told = locked.diff(&[
        ("perms=\"r\"/>", "perms=\"rw\"/>"),
        ("id=\"1\" notify=\"false\"", "id=\"1\" pp=\"true\""),
        ("size=\"0x2000\"", "size=\"0x4000\""),
        ("budget=\"500\" period=\"1000\"", "budget=\"800\" period=\"1000\""),
    ]);
    assert_eq!(
        told,
        "error[privilege-grew]: more privilege than the lock file says
  region `shared` has 16 KiB, not 8 KiB (a.system:2:5)
  PD `server` may run 800 µs in 1000 µs, not 500 µs in 1000 µs (a.system:4:5)
  PD `client` may now write region `shared`, not only read (a.system:11:9)
  PD `client` may now call `server` over channel 1 (a.system:13:14)
  PD `client` may now notify `server` over channel 1 (a.system:13:14)
"
    );
}

#[test]
fn what_shrinks_and_what_changes_is_told_too() {
    let locked = Locked::new("shrinks");
    let told = locked.diff(&[
        ("<map mr=\"private\" vaddr=\"0x5000000\" perms=\"rw\"/>", ""),
        ("<map mr=\"shared\" vaddr=\"0x4000000\" perms=\"rw\"/>", "<map mr=\"shared\" vaddr=\"0x6000000\" perms=\"rw\"/>"),
        ("priority=\"4\"", "priority=\"3\""),
        ("pd=\"server\" id=\"2\"", "pd=\"server\" id=\"7\""),
        ("<program_image path=\"complete.elf\"/>\n        <map mr=\"shared\" vaddr=\"0x4000000\" perms=\"r\"", "<program_image path=\"plain.elf\"/>\n        <map mr=\"shared\" vaddr=\"0x4000000\" perms=\"r\""),
    ]);
    assert_eq!(
        told,
        "error[privilege-shrank]: less privilege than the lock file says
  PD `server` may no longer read and write region `private` (a.system:4:5)
  PD `client` has priority 3, not 4 (a.system:9:5)
error[privilege-changed]: other than the lock file says
  PD `server` maps region `shared` at 0x6000000 as rw, not at 0x4000000 as rw (a.system:6:9)
  PD `client` runs image `plain.elf`, not `complete.elf` (a.system:9:5)
  PD `client` may be reached by `server` over channel 1 (there 7), not over 1 (there 2) (a.system:13:14)
  PD `server` may notify `client` over channel 7 (there 1), not over 2 (there 1) (a.system:13:54)
"
    );
}

#[test]
fn new_and_lost_pds_are_told_with_what_they_may() {
    let locked = Locked::new("pds");
    let told = locked.diff(&[
        ("    <channel>", "    <protection_domain name=\"spy\"><program_image path=\"plain.elf\"/><map mr=\"private\" vaddr=\"0x4000000\" perms=\"r\"/></protection_domain>\n    <channel>"),
    ]);
    for line in [
        "PD `spy` is new",
        "PD `spy` may now read region `private`",
        "PD `spy` may now make the system call `read`",
    ] {
        assert!(told.contains(line), "{line}\n{told}");
    }
    assert!(!told.contains("`client`"), "{told}");
    let (kept, _) = SYSTEM.split_once("    <protection_domain name=\"client\"").expect("there");
    fs::write(&locked.system, format!("{kept}</system>")).expect("writable");
    let output = locked.run("check", &["--locked"]);
    assert_eq!(code(&output), 1);
    let told = err(&output);
    assert!(told.contains("PD `client` is gone, with all its rights"), "{told}");
    assert!(told.contains("PD `server` may no longer notify `client` over channel 2"), "{told}");
}

#[test]
fn other_bytes_of_an_image_are_drift_unless_images_are_left_out() {
    let locked = Locked::new("image_bytes");
    let directory = locked.system.parent().expect("a directory").to_owned();
    // The system file's directory is looked at last, so the images directory is left out here.
    fs::copy(images().join("plain.elf"), directory.join("complete.elf")).expect("copied");
    let system = locked.system.to_str().expect("UTF-8");
    let output = program(&["check", "--locked", system]);
    assert_eq!(code(&output), 1);
    let told = err(&output);
    assert!(told.contains("image `complete.elf` of PD `server` has other bytes: SHA-256 "), "{told}");

    assert_eq!(code(&program(&["lock", "--no-images", system])), 0);
    assert_eq!(code(&program(&["check", "--locked", system])), 0);
    fs::remove_file(directory.join("complete.elf")).expect("it is there");
    assert_eq!(code(&program(&["check", "--locked", system])), 0, "nothing to compare");
    let missing = program(&["lock", system]);
    assert_eq!(code(&missing), 3);
    assert!(
        err(&missing).contains("`complete.elf`") && err(&missing).contains("--no-images"),
        "{}",
        err(&missing)
    );
}

#[test]
fn without_a_usable_lock_file_the_check_fails() {
    let locked = Locked::new("no_lock");
    for text in [None, Some(""), Some("{}"), Some("{\"version\": 1}")] {
        let _ = fs::remove_file(locked.lock_file());
        if let Some(text) = text {
            fs::write(locked.lock_file(), text).expect("writable");
        }
        let output = locked.run("check", &["--locked"]);
        assert_eq!(code(&output), 1);
        assert!(err(&output).contains("error[lock-missing]"), "{}", err(&output));
    }
    let newer = fs::read_to_string(locked.lock_file()).expect("readable").replace("1", "2");
    fs::write(locked.lock_file(), newer).expect("writable");
    assert_eq!(code(&locked.run("check", &["--locked"])), 1);
}

#[test]
fn drift_is_a_finding_in_every_format_and_cannot_be_allowed() {
    let locked = Locked::new("formats");
    let allowed = SYSTEM.replacen("<system>", "<system><!-- mk-allow privilege-grew: no -->", 1).replacen(
        "perms=\"r\"/>",
        "perms=\"rw\"/>",
        1,
    );
    fs::write(&locked.system, allowed).expect("writable");
    for format in ["json", "sarif", "junit", "github"] {
        let output = locked.run("check", &["--locked", "--format", format]);
        assert_eq!(code(&output), 1);
        let text = out(&output);
        assert!(text.contains("privilege-grew") && text.contains("may now write region `shared`"), "{text}");
        assert!(text.contains("allow-malformed"), "{text}");
    }
}
