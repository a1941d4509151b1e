//! Bad input: every kind has its own message, at its place in the system file, and exit code 3; nothing is run.

mod common;

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use common::{Outcome, User, World, for_each_user};

/// A valid program with variables of several sizes.
const PROGRAM: &str = r#"
#include <microkit.h>
#include <stdint.h>
#include <stdio.h>
uintptr_t word;
unsigned int four;
char three[3];
_Thread_local uintptr_t local;
void init(void) { puts("it ran"); }
void notified(microkit_channel ch) { (void)ch; (void)word; (void)four; (void)three; (void)local; }
"#;

const PD: &str = "<protection_domain name=\"pd\"><program_image path=\"pd.elf\"/></protection_domain>";
const REGION: &str = "<memory_region name=\"r\" size=\"0x1000\"/>";

/// A PD with these elements in it.
fn pd_with(inside: &str) -> String {
    PD.replace("</protection_domain>", &format!("\n{inside}\n</protection_domain>"))
}

/// A system file and what is said about it.
struct Case {
    name: &'static str,
    text: Vec<u8>,
    /// `LINE:COLUMN`
    place: &'static str,
    says: &'static str,
}

fn case(name: &'static str, text: impl Into<Vec<u8>>, place: &'static str, says: &'static str) -> Case {
    Case { name, text: text.into(), place, says }
}

#[track_caller]
fn refused(outcome: &Outcome, name: &str, place: &str, says: &str) {
    let told = &outcome.stderr;
    let place = format!("x.system:{place}\n");
    assert_eq!(outcome.code, Some(3), "{name}\n{outcome}");
    assert_eq!(outcome.stdout, "", "{name}\n{outcome}");
    assert!(told.contains(says), "{name}: `{says}` is not said\n{outcome}");
    assert!(told.contains(&place), "{name}: not at {place}\n{outcome}");
    assert!(!told.contains("panicked"), "{name}\n{outcome}");
}

/// Every case for each user, and no message twice.
fn all_refused(cases: &[Case]) {
    for (index, case) in cases.iter().enumerate() {
        let same = cases[..index].iter().find(|other| other.says == case.says);
        assert!(same.is_none(), "{} has a message of its own", case.name);
    }
    for_each_user(|world| {
        world.program("pd", PROGRAM);
        for Case { name, text, place, says } in cases {
            world.write("x.system", text);
            refused(&world.run(&["run", "--until-idle", "x.system"]), name, place, says);
        }
    });
}

#[test]
fn files_that_are_no_system_description() {
    let nested = format!("<system>\n{}{}</system>", "<a>".repeat(100_000), "</a>".repeat(100_000));
    let million = format!("<system>\n{}</system>", "<a/>\n".repeat(1_000_000));
    let attributes = (0..100_000).fold("<system\n".to_owned(), |mut text, index| {
        let _ = write!(text, " a{index}=\"1\"");
        text
    }) + "/>";
    let bomb = "<!DOCTYPE lolz [\n <!ENTITY a \"aaaaaaaaaa\">\n <!ENTITY b \"&a;&a;&a;&a;&a;&a;&a;&a;\">\n]>\n<system>&b;</system>";
    let cases = [
        case("not XML", "Dear Sir or Madam", "1:1", "this is not XML"),
        case(
            "not UTF-8",
            b"<system>\n  \xff\n</system>".to_vec(),
            "2:3",
            "the file is not UTF-8: byte 0xff at offset 11",
        ),
        case("UTF-16", [0xff, 0xfe, b'<', 0, b's', 0], "1:1", "the file is not UTF-8: byte 0xff at offset 0"),
        case("empty", "", "1:1", "the file is empty"),
        case("cut off", format!("<system>\n{PD}"), "1:1", "`system` is never closed"),
        case("another root", format!("<system2>\n{PD}</system2>"), "1:1", "`system2`"),
        case("no PD", "<system>\n</system>", "1:1", "there is no `protection_domain`"),
        case("entities", bomb, "1:1", "a document type declaration is not allowed"),
        case("100,000 nested elements", nested, "2:382", "elements are nested more than 128 deep"),
        case("a million elements", million, "65537:1", "the file has more than 65536 elements"),
        case("100,000 attributes", attributes, "1:1", "this element has more than 64 attributes"),
    ];
    all_refused(&cases);
}

#[test]
fn numbers_at_the_edges() {
    let region = |size: &str| format!("<system>\n<memory_region name=\"r\" {size}/>\n{PD}</system>");
    let map = |vaddr: &str| {
        let pd = pd_with(&format!("<map mr=\"r\" {vaddr}/>"));
        format!("<system>\n{REGION}\n{pd}</system>")
    };
    let cases = [
        case("size 0", region("size=\"0\""), "2:25", "`size` is 0"),
        case(
            "size of 65 bits",
            region("size=\"0x1_0000_0000_0000_0000\""),
            "2:25",
            "does not fit into 64 bits",
        ),
        case(
            "size beyond memory",
            region("size=\"0xffff_ffff_ffff_f000\""),
            "2:25",
            "more than the 0x800000000000 bytes of user memory",
        ),
        case("half a page", region("size=\"0x1800\""), "2:25", "not a multiple"),
        case("no number", region("size=\"large\""), "2:25", "`size` is `large`, which is not a number"),
        case("address 0", map("vaddr=\"0\""), "4:13", "`vaddr` is 0, which cannot be mapped on Linux"),
        case("past the top", map("vaddr=\"0x7fff_ffff_f000\""), "4:13", "beyond the top of memory"),
        case("the sum overflows", map("vaddr=\"0xffff_ffff_ffff_f000\""), "4:13", "do not fit into 64 bits"),
        case("between pages", map("vaddr=\"0x4000800\""), "4:13", "not a multiple of the page size 0x1000"),
        case(
            "stack size",
            format!(
                "<system>{}</system>",
                PD.replace("name=\"pd\"", "name=\"pd\"\nstack_size=\"0xfffffffffffffff0\"")
            ),
            "2:1",
            "`stack_size` is 0xfffffffffffffff0",
        ),
        case(
            "priority",
            format!("<system>{}</system>", PD.replace("name=\"pd\"", "name=\"pd\"\npriority=\"255\"")),
            "2:1",
            "`priority` is `255`, but must be 0 to 254",
        ),
    ];
    all_refused(&cases);
}

#[test]
fn names_and_ids() {
    let channel = |one: &str, other: &str| {
        format!("<system>{PD}\n<channel>\n<end {one}/>\n<end {other}/>\n</channel></system>")
    };
    let twice = format!("<system>{PD}\n{PD}</system>");
    let regions = format!("<system>{REGION}\n{REGION}{PD}</system>");
    let overlap = pd_with("<map mr=\"r\" vaddr=\"0x4000000\"/>\n<map mr=\"r\" vaddr=\"0x4000000\"/>");
    let symbols = pd_with(
        "<map mr=\"r\" vaddr=\"0x4000000\" setvar_vaddr=\"word\"/>\n<map mr=\"r\" vaddr=\"0x5000000\" setvar_vaddr=\"word\"/>",
    );
    let many: String = (0..64).map(|index| PD.replace("\"pd\"", &format!("\"pd{index}\""))).collect();
    let cases = [
        case(
            "unknown PD",
            channel("pd=\"pd\" id=\"0\"", "pd=\"dp\" id=\"0\""),
            "4:6",
            "there is no protection domain `dp`",
        ),
        case(
            "duplicate ids",
            channel("pd=\"pd\" id=\"5\"", "pd=\"pd\" id=\"5\""),
            "4:14",
            "the channel id 5 of `pd` is taken",
        ),
        case(
            "id 62",
            channel("pd=\"pd\" id=\"62\"", "pd=\"pd\" id=\"5\""),
            "3:14",
            "`id` is `62`, but must be 0 to 61",
        ),
        case(
            "hexadecimal id",
            channel("pd=\"pd\" id=\"0x5\"", "pd=\"pd\" id=\"5\""),
            "3:14",
            "`id` is `0x5`",
        ),
        case("PD twice", twice, "2:20", "`pd`"),
        case("region twice", regions, "2:16", "`r`"),
        case(
            "unknown region",
            format!("<system>{}</system>", pd_with("<map mr=\"q\" vaddr=\"0x4000000\"/>")),
            "2:6",
            "there is no memory region `q`",
        ),
        case("overlap", format!("<system>{REGION}{overlap}</system>"), "3:13", "overlaps `r` at 0x4000000"),
        case("symbol twice", format!("<system>{REGION}{symbols}</system>"), "3:31", "`word`"),
        case("unknown element", format!("<system>{PD}\n<memory name=\"r\"/></system>"), "2:1", "`memory`"),
        case(
            "unknown attribute",
            format!("<system>{PD}\n<memory_region name=\"r\" sise=\"0x1000\"/></system>"),
            "2:25",
            "`sise`",
        ),
        case("64 PDs", format!("<system>\n{many}</system>"), "2:", "63"),
    ];
    for_each_user(|world| {
        world.program("pd", PROGRAM);
        for Case { name, text, place, says } in &cases {
            world.write("x.system", text);
            let outcome = world.run(&["run", "--until-idle", "x.system"]);
            let place =
                place.strip_suffix(':').map_or_else(|| format!("{place}\n"), |line| format!("{line}:"));
            assert_eq!(outcome.code, Some(3), "{name}\n{outcome}");
            outcome.says(says).says(&format!("x.system:{place}"));
        }
    });
}

/// Valid elements that cannot be run are refused by name, never ignored.
#[test]
fn what_cannot_be_run_is_refused_by_name() {
    let vm = pd_with("<virtual_machine name=\"vm\"><vcpu id=\"0\"/></virtual_machine>");
    let io = format!(
        "{REGION}{PD}\n<io_address_space name=\"io\" peripheral_id=\"1\" domain_id=\"1\">\
         <iomap mr=\"r\" iovaddr=\"0x1000\" perms=\"r\"/></io_address_space>"
    );
    let cases = [
        case(
            "virtual_machine",
            format!("<system>{vm}</system>"),
            "2:1",
            "virtual_machine cannot be run on Linux",
        ),
        case(
            "io_address_space",
            format!("<system>{io}</system>"),
            "2:1",
            "io_address_space cannot be run on Linux",
        ),
    ];
    all_refused(&cases);
}

#[test]
fn images_that_are_none() {
    for_each_user(|world| {
        let good = fs::read(world.program("good", PROGRAM)).unwrap();
        let patched = |at: usize, byte: u8| {
            let mut image = good.clone();
            image[at] = byte;
            image
        };
        let section_headers = u64::from_le_bytes(good[40..48].try_into().unwrap()) as usize;
        // What is in pd.elf, what is said, what to do.
        let files: Vec<(&str, Vec<u8>, &str, &str)> = vec![
            ("empty", vec![], "not an ELF file", "mk-sandbox cc -o"),
            ("text", b"#!/bin/sh\n".to_vec(), "not an ELF file", "mk-sandbox cc -o"),
            ("header only", good[..64].to_vec(), "cut short: ", "build or copy it again"),
            ("half", good[..good.len() / 2].to_vec(), "cut short: ", "build or copy it again"),
            (
                "all but the last byte",
                good[..good.len() - 1].to_vec(),
                "cut short: the section headers",
                "copy it again",
            ),
            (
                "no section headers",
                good[..section_headers].to_vec(),
                "cut short: the section headers",
                "copy it again",
            ),
            // e_machine 183: AArch64; 243: RISC-V
            ("AArch64", patched(18, 183), "made for AArch64", "this machine's compiler"),
            ("RISC-V", patched(18, 243), "made for RISC-V", "this machine's compiler"),
            // EI_CLASS 1: 32 bits; EI_DATA 2: big-endian
            ("32 bits", patched(4, 1), "made for ", "this machine's compiler"),
            ("big-endian", patched(5, 2), "made for ", "this machine's compiler"),
            // e_type 1: an object file; 2: an executable
            ("object file", patched(16, 1), "an object file that is not linked yet", "mk-sandbox cc -o"),
            ("executable", patched(16, 2), "an executable at a fixed address", "shared object"),
        ];
        world.system("x.system", &format!("<system>\n{PD}</system>"));
        for (name, content, says, help) in files {
            world.write("pd.elf", content);
            let outcome = world.run(&["run", "--until-idle", "x.system"]);
            refused(&outcome, name, "2:51", says);
            outcome.says("PD `pd`: pd.elf: ").says(help);
        }
    });
}

#[test]
fn images_that_are_not_there() {
    for_each_user(|world| {
        world.system("x.system", &format!("<system>\n{PD}</system>"));
        let run = || world.run(&["run", "--until-idle", "x.system"]);
        refused(&run(), "missing", "2:51", "image `pd.elf` of PD `pd` is not found");

        world.give(&{
            fs::create_dir(world.path("pd.elf")).unwrap();
            world.path("pd.elf")
        });
        refused(&run(), "a directory", "2:51", "image `pd.elf` of PD `pd` is a directory");
        fs::remove_dir(world.path("pd.elf")).unwrap();

        nix::unistd::mkfifo(&world.path("pd.elf"), nix::sys::stat::Mode::from_bits_truncate(0o666)).unwrap();
        refused(&run(), "a pipe", "2:51", "not a regular file");
        fs::remove_file(world.path("pd.elf")).unwrap();

        let image = world.program("pd", PROGRAM);
        fs::set_permissions(&image, fs::Permissions::from_mode(0o000)).unwrap();
        // Nothing is unreadable to root.
        match world.user() {
            User::Root => {
                run().expect(0).printed("pd", &["it ran"]);
            }
            User::Unprivileged | User::Own => refused(&run(), "unreadable", "2:51", "Permission denied"),
        }
    });
}

#[test]
fn a_symbol_file_that_is_not_there() {
    for_each_user(|world| {
        world.program("pd", PROGRAM);
        let pd = PD.replace("path=\"pd.elf\"", "path=\"pd.elf\" path_for_symbols=\"pd.full.elf\"");
        world.system("x.system", &format!("<system>\n{pd}</system>"));
        let outcome = world.run(&["run", "--until-idle", "x.system"]);
        refused(&outcome, "missing", "2:51", "`pd.full.elf` of PD `pd` is not found");
        world.write("pd.full.elf", "text");
        let outcome = world.run(&["run", "--until-idle", "x.system"]);
        refused(&outcome, "no ELF file", "2:51", "pd.full.elf: not an ELF file");
        world.program("pd.full", PROGRAM);
        world.run(&["run", "--until-idle", "x.system"]).expect(0).printed("pd", &["it ran"]);
    });
}

/// Compiles without the checks of `mk-sandbox cc`'s linker flags, as other build systems do.
fn lax(world: &World, name: &str, source: &str, arguments: &[&str]) {
    world.write(&format!("{name}.c"), source);
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".into());
    let status = std::process::Command::new(compiler)
        .current_dir(world.dir())
        .args(["-shared", "-fPIC", "-o", &format!("{name}.elf"), &format!("{name}.c")])
        .args(arguments)
        .status()
        .unwrap();
    assert!(status.success(), "{name}");
    world.give(&world.path(&format!("{name}.elf")));
}

#[test]
fn images_that_do_not_fit() {
    const ENTRIES: &str = "void init(void) {}\nvoid notified(unsigned ch) { (void)ch; }\n";
    for_each_user(|world| {
        world.system("x.system", &format!("<system>\n{PD}</system>"));
        let refused = |name: &str, says: &str, help: &str| {
            let outcome = world.run(&["run", "--until-idle", "x.system"]);
            refused(&outcome, name, "2:51", says);
            outcome.says(help);
        };
        lax(world, "pd", "void notified(unsigned ch) { (void)ch; }", &[]);
        refused("no init", "PD `pd`: pd.elf: no symbol `init`", "every image defines void init(void)");
        lax(world, "pd", "void init(void) {}", &[]);
        refused(
            "no notified",
            "PD `pd`: pd.elf: no symbol `notified`",
            "every image defines void notified(microkit_channel ch)",
        );
        lax(
            world,
            "pd",
            "static void init(void) {}\nvoid notified(unsigned ch) { (void)ch; init(); }",
            &["-O0"],
        );
        refused(
            "static init",
            "no symbol `init`: a function of that name is there, but static or hidden",
            "remove `static`",
        );
        lax(world, "pd", "int init = 1;\nvoid notified(unsigned ch) { (void)ch; }", &[]);
        refused("init is a variable", "`init`", "must be a function");

        lax(world, "other", "int other(void) { return 1; }", &["-Wl,-soname,libother.so.1"]);
        lax(
            world,
            "pd",
            &format!("int other(void);\n{ENTRIES}int use(void) {{ return other(); }}"),
            &["./other.elf"],
        );
        refused(
            "another library",
            "needs the library `libother.so.1`, which PDs do not get",
            "link other code into the image statically",
        );
        lax(world, "pd", ENTRIES, &["-Wl,-rpath,/tmp"]);
        refused("a search path", "has a library search path (DT_RUNPATH)", "link without -rpath");
        lax(world, "pd", ENTRIES, &["-Wl,-z,execstack"]);
        refused("an executable stack", "asks for an executable stack", "noexecstack");
        lax(
            world,
            "pd",
            &format!(
                "{ENTRIES}static int one(void) {{ return 1; }}\nstatic int (*choose(void))(void) {{ return one; }}\nint chosen(void) __attribute__((ifunc(\"choose\")));\nint use(void) {{ return chosen(); }}"
            ),
            &[],
        );
        refused(
            "an indirect function",
            "indirect function",
            "its resolver would run before the sandbox is closed",
        );
    });
}

/// The dynamic linker finds it out, in the PD: the error names PD, image and symbol.
#[test]
fn a_symbol_that_nobody_defines() {
    for_each_user(|world| {
        world.system("x.system", &format!("<system>\n{PD}</system>"));
        lax(
            world,
            "pd",
            "int elsewhere(void);\nvoid init(void) { elsewhere(); }\nvoid notified(unsigned ch) { (void)ch; }",
            &[],
        );
        let outcome = world.run(&["run", "--until-idle", "x.system"]);
        refused(&outcome, "undefined", "2:51", "PD `pd`: failed while loading its image");
        outcome.says("pd.elf").says("undefined symbol: elsewhere");
    });
}

#[test]
fn variables_that_cannot_be_set() {
    let cases = [
        ("nothing", "pd.elf: variable `nothing`: no such symbol", "define it: "),
        ("four", "variable `four` in pd.elf has 4 bytes, and setvar_vaddr writes 8", "uintptr_t"),
        ("three", "variable `three` in pd.elf has 3 bytes, and setvar_vaddr writes 8", "uintptr_t"),
        ("local", "pd.elf: variable `local`: a thread-local variable", "remove _Thread_local"),
        ("notified", "pd.elf: variable `notified`: not a variable", "must be a variable"),
        (
            "puts",
            "pd.elf: variable `puts`: only referred to, not defined in the image",
            "define it in one of",
        ),
    ];
    for_each_user(|world| {
        world.program("pd", PROGRAM);
        for (symbol, says, help) in cases {
            let pd = pd_with(&format!("<map mr=\"r\" vaddr=\"0x4000000\" setvar_vaddr=\"{symbol}\"/>"));
            world.system("x.system", &format!("<system>{REGION}\n{pd}</system>"));
            let outcome = world.run(&["run", "--until-idle", "x.system"]);
            refused(&outcome, symbol, "3:31", &format!("PD `pd`: {says}"));
            outcome.says(help);
        }
        // Ids fit into four bytes, too, but not into three.
        let ends = |symbol: &str| {
            format!(
                "<channel>\n<end pd=\"pd\" id=\"1\"/><end pd=\"pd\" id=\"2\" setvar_id=\"{symbol}\"/></channel>"
            )
        };
        world.system("x.system", &format!("<system>{PD}{}</system>", ends("three")));
        let outcome = world.run(&["run", "--until-idle", "x.system"]);
        refused(
            &outcome,
            "id",
            "2:42",
            "variable `three` in pd.elf has 3 bytes, and setvar_id writes 4 or 8",
        );
        world.system("x.system", &format!("<system>{PD}{}</system>", ends("four")));
        world.run(&["run", "--until-idle", "x.system"]).expect(0);
    });
}

/// Errors that do not hang together are all told in one run.
#[test]
fn all_errors_are_told_at_once() {
    for_each_user(|world| {
        world.program("pd", PROGRAM);
        world.write("text.elf", "text");
        let system = "<system>\n\
            <protection_domain name=\"a\"><program_image path=\"text.elf\"/></protection_domain>\n\
            <protection_domain name=\"b\"><program_image path=\"none.elf\"/></protection_domain>\n\
            <protection_domain name=\"c\"><program_image path=\"pd.elf\"/></protection_domain>\n\
            </system>";
        world.system("x.system", system);
        let outcome = world.run(&["run", "x.system"]);
        refused(&outcome, "a", "2:50", "PD `a`: text.elf: not an ELF file");
        refused(&outcome, "b", "3:50", "image `none.elf` of PD `b` is not found");
        assert_eq!(outcome.stderr.matches("error: ").count(), 2, "{outcome}");
    });
}

/// A region over all that a process usually has: its place is that of the `map`.
#[test]
fn an_address_that_is_taken() {
    for_each_user(|world| {
        world.program("pd", PROGRAM);
        let pd = pd_with("<map mr=\"r\" vaddr=\"0x4000000\"/>");
        world.system(
            "x.system",
            &format!("<system><memory_region name=\"r\" size=\"0x7f0000000000\"/>\n{pd}</system>"),
        );
        let outcome = world.run(&["run", "--until-idle", "x.system"]);
        refused(
            &outcome,
            "everything",
            "3:1",
            "region `r` at 0x4000000..0x7f0004000000: the address is taken",
        );
        outcome.says("PD `pd`: failed while mapping its memory regions").says("EEXIST");
    });
}

#[test]
fn files_that_cannot_be_read() {
    for_each_user(|world| {
        world.program("pd", PROGRAM);
        world.write("big.system", "<system>".to_owned() + &"x".repeat(17 << 20));
        world.give(&{
            fs::create_dir(world.path("dir.system")).unwrap();
            world.path("dir.system")
        });
        for (name, says) in [
            ("none.system", "cannot read the system description `none.system`: No such file or directory"),
            ("dir.system", "cannot read the system description `dir.system`: Is a directory"),
            ("big.system", "the system description `big.system` is larger than 16 MiB"),
            ("pd.elf/x.system", "cannot read the system description `pd.elf/x.system`: Not a directory"),
        ] {
            for command in ["run", "check", "policy"] {
                let outcome = world.run(&[command, name]);
                assert_eq!(outcome.code, Some(3), "{command} {name}\n{outcome}");
                outcome.says(says);
            }
        }
        let closed = world.system("x.system", &format!("<system>{PD}</system>"));
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
        let outcome = world.run(&["run", "--until-idle", "x.system"]);
        match world.user() {
            User::Root => {
                outcome.expect(0).printed("pd", &["it ran"]);
            }
            User::Unprivileged | User::Own => {
                outcome.expect(3).says("cannot read the system description `x.system`: Permission denied");
            }
        }
    });
}
