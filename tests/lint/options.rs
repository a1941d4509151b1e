//! What decides over findings: levels, comments, the baseline.

use std::fs;

use super::support::{check, code, err, found, out, program, scratch};

#[test]
fn comments_allow_what_they_name_where_they_stand() {
    let (code, json) = check(&["--deny", "all", "allowed.system"]);
    let expected = [
        "region-unused 4:5 (suppressed)",
        "region-writable-at-both-ends 5:5 (suppressed)",
        "maps-without-guard 9:9 (suppressed)",
    ];
    assert_eq!((code, found(&json).as_slice()), (0, &expected.map(str::to_owned)[..]), "{json:#}");
    assert_eq!(json["findings"][0]["reason"], "kept for the next version of the driver");
    assert_eq!(json["summary"]["suppressed"], 3);
    let summary = out(&program(&["check", "allowed.system"]));
    assert!(summary.contains("3 allowed in the file"), "{summary}");
}

#[test]
fn a_comment_about_images_is_not_blamed_where_the_images_are_missing() {
    let directory = scratch("comment_about_images");
    let system = directory.join("a.system");
    let text = "<system><!-- mk-allow image-without-relro: old tools -->\n\
        <protection_domain name='a'><program_image path='plain.elf'/></protection_domain></system>";
    fs::write(&system, text).expect("writable");
    let system = system.to_str().expect("UTF-8");
    let output = program(&["check", "--format", "json", system]);
    assert!(!out(&output).contains("allow-unused"), "{}", out(&output));
    let (_, json) = check(&[system]);
    assert!(found(&json).iter().any(|found| found.starts_with("allow-unused")), "{json:#}");
}

#[test]
fn options_change_levels_and_with_them_the_exit_code() {
    let system = "region-unused.system";
    let level = |arguments: &[&str]| {
        let (code, json) = check(&[arguments, &[system]].concat());
        (code, json["findings"][0]["level"].as_str().map(str::to_owned))
    };
    let word = |word: &str| Some(word.to_owned());
    assert_eq!(level(&[]), (0, word("warning")));
    assert_eq!(level(&["--deny", "region-unused"]), (1, word("error")));
    assert_eq!(level(&["--deny", "warnings"]), (1, word("error")));
    assert_eq!(level(&["--deny", "warnings", "--warn", "region-unused"]), (0, word("warning")));
    assert_eq!(level(&["--allow", "region-unused"]), (0, None));
    let (code_of_deny, _) = check(&["--warn", "map-writable-executable", "map-writable-executable.system"]);
    assert_eq!(code_of_deny, 0);
    for arguments in [["--deny", "region-unsued"], ["--allow", "privilege-grew"]] {
        let output = program(&["check", arguments[0], arguments[1], system]);
        assert_eq!((code(&output), out(&output).as_str()), (2, ""));
        assert!(err(&output).contains(arguments[1]), "{}", err(&output));
    }
}

#[test]
fn the_baseline_hides_what_was_there_and_nothing_else() {
    let directory = scratch("baseline");
    let baseline = directory.join("baseline.json");
    let baseline = baseline.to_str().expect("UTF-8");
    let system = directory.join("a.system");
    let old = fs::read_to_string(super::support::fixtures().join("region-unused.system")).expect("readable");
    fs::write(&system, &old).expect("writable");
    let system_path = system.to_str().expect("UTF-8");
    let deny = ["--deny", "warnings"];

    let written = program(&["check", "--write-baseline", baseline, system_path]);
    assert_eq!(code(&written), 0, "{}", err(&written));
    let text = fs::read_to_string(baseline).expect("written");
    assert!(text.contains("\"id\": \"region-unused\"") && !text.contains(directory.to_str().expect("UTF-8")));

    // The finding moves; another one comes.
    let new = old.replace("<system>", "<system>\n\n<memory_region name=\"other\" size=\"0x1000\"/>");
    fs::write(&system, new).expect("writable");
    let (code_now, json) = check(&[&deny[..], &["--baseline", baseline, system_path]].concat());
    assert_eq!(code_now, 1);
    assert_eq!(found(&json), ["region-unused 4:1", "region-unused 5:5 (suppressed)"]);

    // All gone: the baseline is out of date, which is told.
    fs::write(&system, old.replace("<memory_region name=\"spare\" size=\"0x1000\"/>", "")).expect("writable");
    let images = super::support::images().to_str().expect("UTF-8");
    let stale = program(&["check", "--baseline", baseline, "--search-path", images, system_path]);
    assert_eq!(code(&stale), 0);
    assert!(err(&stale).contains("baseline"), "{}", err(&stale));

    fs::write(baseline, "{}").expect("writable");
    let broken = program(&["check", "--baseline", baseline, system_path]);
    assert_eq!(code(&broken), 2);
    assert!(err(&broken).contains(baseline), "{}", err(&broken));
}

#[test]
fn thousands_of_findings_are_told_in_part() {
    let directory = scratch("thousands");
    let system = directory.join("a.system");
    let regions: String =
        (0..2000).map(|at| format!("<memory_region name=\"r{at}\" size=\"0x1000\"/>\n")).collect();
    let pd = |name: &str| {
        let maps =
            (0..2000).map(|at| format!("<map mr=\"r{at}\" vaddr=\"{:#x}\"/>", 0x100_0000 + at * 0x2000));
        let maps: String = maps.collect();
        format!(
            "<protection_domain name=\"{name}\"><program_image path=\"plain.elf\"/>{maps}</protection_domain>"
        )
    };
    let channel = "<channel><end pd=\"a\" id=\"0\"/><end pd=\"b\" id=\"0\"/></channel>";
    let text = format!("<system>{regions}{}{}{channel}</system>", pd("a"), pd("b"));
    fs::write(&system, text).expect("writable");
    let (_, json) = check(&[system.to_str().expect("UTF-8")]);
    let findings = json["findings"].as_array().expect("a list");
    assert_eq!(findings.len(), 100);
    let last = findings[99]["message"].as_str().expect("a message");
    assert!(last.ends_with(", and 1900 more findings of this kind"), "{last}");
}
