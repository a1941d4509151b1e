//! The kernel as the judge of calls: judge.c, compiled once.

#![forbid(unsafe_code)]

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use mk_sandbox::policy::Program;

/// A system call's number and arguments.
pub type Call = (u32, [u64; 6]);

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The kernel would make it.
    Allowed,
    /// SIGSYS.
    Trapped,
    /// It ends the process.
    Killed,
    /// The filters could not be installed one after the other.
    NotInstalled,
    /// It fails with this, unmade.
    Errno(u64),
}

/// The compiled judge.
pub struct Judge {
    program: PathBuf,
}

impl Judge {
    /// Compiles it.
    pub fn new() -> Self {
        let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let program = directory.join(format!("judge-{}", std::process::id()));
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/policy_mutants/judge.c");
        let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
        let built = Command::new(compiler).args(["-O1", "-o"]).arg(&program).arg(source).output().unwrap();
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        Self { program }
    }

    /// What the kernel says to each of the calls under these filters.
    pub fn verdicts(&self, programs: &[Program], calls: &[Call]) -> Vec<Verdict> {
        let mut words = vec![programs.len() as u64];
        for program in programs {
            words.push(program.words.len() as u64);
            words.extend(&program.words);
        }
        words.push(calls.len() as u64);
        for (number, arguments) in calls {
            words.push(u64::from(*number));
            words.extend(arguments);
        }
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let mut command = Command::new(&self.program);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(&bytes).unwrap();
        let mut answers = Vec::new();
        child.stdout.take().unwrap().read_to_end(&mut answers).unwrap();
        assert!(child.wait().unwrap().success());
        let answers = answers.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().unwrap()));
        let verdicts: Vec<Verdict> = answers
            .map(|word| match word {
                1 => Verdict::Allowed,
                2 => Verdict::Trapped,
                3 => Verdict::Killed,
                4 => Verdict::NotInstalled,
                errno => Verdict::Errno(errno - 0x10000),
            })
            .collect();
        assert_eq!(verdicts.len(), calls.len());
        verdicts
    }
}

impl Drop for Judge {
    fn drop(&mut self) {
        // It lies in the build directory.
        let _ = std::fs::remove_file(&self.program);
    }
}
