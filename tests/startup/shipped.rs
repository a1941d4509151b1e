//! The shipped binary has no seam.

#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use mk_sandbox::pd::{Seam, Shipped, Step};

use crate::cases::Cases;
use crate::seam::MARK;

/// Adds the cases.
pub fn cases(cases: &mut Cases) {
    cases.case("shipped: the binary has nothing of this program's seam", || {
        let holds = |path: &Path, word: &str| {
            let bytes = fs::read(path).unwrap();
            bytes.windows(word.len()).any(|window| window == word.as_bytes())
        };
        let binary = Path::new(env!("CARGO_BIN_EXE_mk-sandbox"));
        let this = std::env::current_exe().unwrap();
        // The first word is in the seam's code, the second in the names of its functions; where symbols were stripped only the
        // first can be looked for.
        assert!(holds(&this, MARK), "the seam's mark is not even here");
        for word in [MARK, "TestSeam"] {
            assert!(!holds(binary, word), "`{word}` is in {}", binary.display());
        }
        format!("`{MARK}` is in this program and not in the binary")
    });
    cases.case("shipped: no name makes a PD host of the binary but the launcher's", || {
        let exit = |name: &[u8], argument: &[u8], more: &[&str]| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_mk-sandbox"));
            command
                .arg0(OsStr::from_bytes(name))
                .arg(OsStr::from_bytes(argument))
                .args(more)
                .output()
                .unwrap()
        };
        for (name, argument) in
            [(&b"\xff"[..], &b"--version"[..]), (b"mk-pd", b"--version"), (b"", b"--version")]
        {
            assert_eq!(exit(name, argument, &[]).status.code(), Some(0), "{name:?}");
        }
        // A name like the launcher's gets nobody further than that there is no handoff.
        for argument in [&b""[..], b"0", b"99", b"-1", b"--version", b"\xff", b"99999999999999999999"] {
            // With the word of no seam it is one before main, else after.
            for more in [&[][..], &["shipped"], &["-"]] {
                let output = exit(b"mk-pd:", argument, more);
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                assert_eq!(output.status.code(), Some(2), "{argument:?} {more:?}: {said}");
                assert!(said.contains("only the launcher starts a PD host"), "{argument:?} {more:?}: {said}");
            }
        }
        "an error or the command line".into()
    });
    cases.case("shipped: the product's own seam does nothing", || {
        for text in ["", "fail 0 1 pd -", MARK] {
            let seam = Shipped::from_argument(text);
            assert_eq!(seam.argument(), "shipped");
            for step in Step::ALL {
                assert_eq!(seam.before(step, "pd"), Ok(()));
            }
        }
        "whatever it is told".into()
    });
}
