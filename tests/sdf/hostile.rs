//! Files made to hurt: each must yield findings, soon and without a panic.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use mk_sandbox::diagnostic::{Diagnostic, Severity, Source, render};
use mk_sandbox::sdf::{self, Arch, Options, System};

use super::fixtures;

type Loaded = Result<(System, Vec<Diagnostic>), Vec<Diagnostic>>;

fn load(text: String) -> (Source, Loaded) {
    let source = Source { path: PathBuf::from("hostile.system"), text };
    let options = Options { search_path: vec![fixtures()], arch: Arch::Any, cpus: 4 };
    let loaded = sdf::load(&source, &options);
    (source, loaded)
}

/// The only error of a text, as `line:column message`.
fn error(text: String) -> String {
    let (source, loaded) = load(text);
    let errors = loaded.expect_err("it is refused");
    let [error] = errors.as_slice() else { panic!("{errors:?}") };
    let (line, column) = source.position(error.span.start);
    let shown = render(&source, error, false);
    let place = format!("--> hostile.system:{line}:{column}");
    assert!(shown.lines().any(|line| line.ends_with(&place)), "{shown}");
    format!("{line}:{column} {}", error.message)
}

#[test]
fn entities_are_not_expanded() {
    let mut text = String::from("<?xml version=\"1.0\"?>\n<!DOCTYPE system [\n<!ENTITY a \"ha\">\n");
    for (inner, outer) in ('a'..='y').zip('b'..='z') {
        let expanded = format!("&{inner};").repeat(10);
        writeln!(text, "<!ENTITY {outer} \"{expanded}\">").expect("a String takes all");
    }
    text += "]>\n<system>&z;</system>\n";
    assert_eq!(error(text), "2:1 a document type declaration is not allowed");
    let external = "<!DOCTYPE system SYSTEM \"file:///etc/passwd\"><system/>";
    assert_eq!(error(external.into()), "1:1 a document type declaration is not allowed");
}

#[test]
fn a_hundred_thousand_nested_elements() {
    let deep = "elements are nested more than 128 deep";
    let closed = format!("{}{}", "<system>\n".repeat(100_000), "</system>\n".repeat(100_000));
    assert_eq!(error(closed), format!("129:1 {deep}"));
    assert_eq!(error("<a>".repeat(100_000)), format!("1:385 {deep}"));
    let pds = "<protection_domain name='a'>\n".repeat(100_000);
    assert_eq!(error(format!("<system>\n{pds}")), format!("129:1 {deep}"));
}

#[test]
fn as_deep_as_it_may_be() {
    let pds = "<protection_domain name='a' id='0'>".repeat(127);
    let (_, loaded) = load(format!("<system>{pds}{}</system>", "</protection_domain>".repeat(127)));
    assert!(loaded.is_err());
}

#[test]
fn a_million_nodes() {
    let elements = format!("<system>\n{}</system>", "<channel/>\n".repeat(1_000_000));
    assert_eq!(error(elements), "65537:1 the file has more than 65536 elements");
    let comments = format!("<system>{}</system>", "<!--c-->".repeat(1_000_000));
    assert_eq!(error(comments), "1:1 the file has more than 262144 elements, texts and comments");
    let text = format!("<system>{}</system>", "<![CDATA[a]]>".repeat(1_000_000));
    assert!(load(text).1.is_err());
}

#[test]
fn a_million_attributes() {
    let mut text = String::from("<system>\n<channel");
    for number in 0..1_000_000 {
        write!(text, " a{number}=''").expect("a String takes all");
    }
    text += "/>\n</system>";
    assert_eq!(error(text), "2:1 this element has more than 64 attributes");
}

#[test]
fn many_namespaces() {
    let text = format!("<system>\n{}", "<channel xmlns:a='b'>\n".repeat(1000));
    assert_eq!(error(text), "2:10 `xmlns` is not allowed");
}

/// Every element of a file as large as is read is wrong, in a way that names others.
#[test]
fn many_errors_are_counted() {
    let mut text = String::from("<system>\n");
    for number in 0..5_000 {
        writeln!(text, "<memory_region name='region{number}' size='0x1000'/>").expect("a String");
    }
    text += "<protection_domain name='a'><program_image path='a'/>\n";
    for number in 0..5_000 {
        writeln!(text, "<map mr='rejion{number}' vaddr='0x1000'/>").expect("a String");
        writeln!(text, "<irq irq='1' id='1'/>").expect("a String");
    }
    text += "</protection_domain>\n</system>";
    let (source, loaded) = load(text);
    let findings = loaded.expect_err("it is refused");
    let is_error = |finding: &&Diagnostic| finding.severity == Severity::Error;
    assert_eq!(findings.iter().filter(is_error).count(), 101);
    assert!(findings.len() <= 202, "{}", findings.len());
    let messages: Vec<&str> = findings.iter().map(|finding| &*finding.message).collect();
    assert!(messages.contains(&"and 14898 more errors"), "{:?}", messages.last());
    assert!(messages.contains(&"and 4900 more warnings"), "{:?}", messages.last());
    assert_eq!(source.position(findings[0].span.start), (5_003, 6));
}

#[test]
fn long_words_are_cut() {
    let long = "x".repeat(1 << 20);
    let text = format!(
        "<system>\n<{long}/>\n<protection_domain name='{long}' {long}='{long}'>\n\
         <program_image path='{long}'/><map mr='{long}' vaddr='{long}'/>\n</protection_domain>\n\
         <channel><end pd='{long}' id='{long}'/><end pd='y' id='1'/></channel></system>"
    );
    let (source, loaded) = load(text);
    for finding in loaded.expect_err("it is refused") {
        let shown = render(&source, &finding, false);
        assert!(shown.len() < 1000, "{shown}");
    }
}

#[test]
fn addresses_at_the_edge() {
    for number in ["0xffffffffffffffff", "0xfffffffffffff000", "0x8000000000000000"] {
        for size in ["0x1000", "0x7ffffffff000", "0x800000000000"] {
            let text = format!(
                "<system><memory_region name='r' size='{size}' phys_addr='{number}'/>\
                 <memory_region name='q' size='{number}'/>\
                 <protection_domain name='a' budget='{number}' period='{number}'>\
                 <program_image path='a'/><map mr='r' vaddr='{number}'/>\
                 <map mr='q' vaddr='0x1000'/><setvar symbol='s' region_paddr='q'/>\
                 <ioport id='1' addr='{number}' size='{number}'/>\
                 <virtual_machine name='v'><vcpu id='0' cpu='{number}'/>\
                 <map mr='r' vaddr='{number}'/></virtual_machine></protection_domain>\
                 <io_address_space name='d' peripheral_id='{number}' domain_id='{number}'>\
                 <iomap mr='r' iovaddr='{number}'/></io_address_space></system>"
            );
            assert!(load(text).1.is_err());
        }
    }
}

/// A generator of numbers (xorshift64*): the same seed, the same files.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        usize::try_from(number).expect("32 bits") % bound.max(1)
    }

    fn boundary(&mut self, text: &str) -> usize {
        let mut offset = self.below(text.len() + 1);
        while !text.is_char_boundary(offset) {
            offset -= 1;
        }
        offset
    }

    fn range(&mut self, text: &str) -> std::ops::Range<usize> {
        let (one, other) = (self.boundary(text), self.boundary(text));
        let (start, end) = (one.min(other), one.max(other));
        // Mostly short, so that the rest still means something.
        let mut short = (start + self.below(12)).min(end);
        while !text.is_char_boundary(short) {
            short -= 1;
        }
        start..if self.below(8) == 0 { end } else { short }
    }
}

const PIECES: &[&str] = &[
    "<",
    ">",
    "/>",
    "</",
    "\"",
    "'",
    "=",
    "&",
    "&lt;",
    "&#0;",
    "&#x10ffff;",
    "<!--",
    "-->",
    "<![CDATA[",
    "]]>",
    "<?x",
    "?>",
    "<!DOCTYPE x>",
    "xmlns=\"a\"",
    "xml:",
    " ",
    "\n",
    "\r",
    "\t",
    "\0",
    "\u{feff}",
    "ü",
    "\u{10ffff}",
    "0x",
    "0",
    "-1",
    "18446744073709551615",
    "_",
    "id=\"1\"",
    "pp=\"true\"",
    "size=\"0x1000\"",
    "vaddr=\"0\"",
    "<channel/>",
    "<map/>",
    "<irq/>",
    "<end/>",
    "<domains/>",
    "</system>",
    "<system>",
    "<protection_domain name=\"m\">",
    "</protection_domain>",
];

#[test]
fn mutations_of_valid_files_never_panic() {
    let seed = 0x6d6b_7364_6620_2026;
    println!("seed {seed:#x}");
    let mut random = Random(seed);
    let mut files: Vec<PathBuf> = fs::read_dir(fixtures())
        .expect("the fixtures are part of the source")
        .map(|entry| entry.expect("the fixtures are readable").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "system"))
        .collect();
    files.sort();
    let is_valid = |path: &PathBuf| path.to_string_lossy().contains("/valid_");
    let valid = files.iter().position(is_valid).expect("valid fixtures");
    let valid = valid..valid + files.iter().filter(|path| is_valid(path)).count();
    let texts: Vec<String> = files.iter().map(|path| fs::read_to_string(path).expect("text")).collect();
    let (mut accepted, mut refused) = (0, 0);
    for round in 0..6000 {
        let start = match random.below(3) {
            0 => random.below(texts.len()),
            _ => valid.start + random.below(valid.len()),
        };
        let mut text = texts[start].clone();
        for _ in 0..=random.below(4) {
            mutate(&mut random, &mut text, &texts);
        }
        let (source, loaded) = load(text);
        let findings = match loaded {
            Ok((system, warnings)) => {
                accepted += 1;
                assert!((1..=63).contains(&system.pds.len()), "round {round}");
                assert!(warnings.iter().all(|warning| warning.severity == Severity::Warning));
                warnings
            }
            Err(errors) => {
                refused += 1;
                assert!(errors.iter().any(|error| error.severity == Severity::Error));
                errors
            }
        };
        for finding in findings.iter().take(3) {
            let shown = render(&source, finding, false);
            let (line, column) = source.position(finding.span.start);
            let place = format!("--> hostile.system:{line}:{column}");
            let found = shown.lines().any(|line| line.ends_with(&place));
            assert!(found, "round {round}: {place} in {shown}");
        }
    }
    assert!(accepted > 100 && refused > 100, "{accepted} accepted, {refused} refused");
}

fn mutate(random: &mut Random, text: &mut String, texts: &[String]) {
    let range = random.range(text);
    match random.below(6) {
        0 => text.replace_range(range, ""),
        1 => text.insert_str(range.start, PIECES[random.below(PIECES.len())]),
        2 => text.replace_range(range, PIECES[random.below(PIECES.len())]),
        3 => {
            let copy = text[range].to_owned();
            text.insert_str(random.boundary(text), &copy);
        }
        4 => {
            let other = &texts[random.below(texts.len())];
            let part = other[random.range(other)].to_owned();
            text.insert_str(range.start, &part);
        }
        _ => {
            if random.below(20) == 0 {
                text.truncate(range.start);
            } else {
                mutate_digit(random, text);
            }
        }
    }
}

/// Changes one digit, which mostly leaves the file well-formed.
fn mutate_digit(random: &mut Random, text: &mut String) {
    let digits: Vec<usize> =
        text.bytes().enumerate().filter(|(_, b)| b.is_ascii_digit()).map(|(i, _)| i).collect();
    if digits.is_empty() {
        return;
    }
    let place = digits[random.below(digits.len())];
    let digit = char::from(b'0' + u8::try_from(random.below(10)).expect("a digit"));
    text.replace_range(place..=place, digit.encode_utf8(&mut [0; 4]));
}
