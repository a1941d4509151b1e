//! The shipped binary has no seam.

#![forbid(unsafe_code)]

use std::fs;
use std::path::Path;

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
    cases.case("shipped: the product's own seam does nothing", || {
        for text in ["", "fail 0 1 pd -", MARK] {
            let seam = Shipped::from_argument(text);
            assert_eq!(seam.argument(), "");
            for step in Step::ALL {
                assert_eq!(seam.before(step, "pd"), Ok(()));
            }
        }
        "whatever it is told".into()
    });
}
