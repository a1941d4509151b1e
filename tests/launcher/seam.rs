//! The seam of this program: leaves a layer of the launcher's own confinement out, and makes an attempt before or behind it.

#![forbid(unsafe_code)]

use std::cell::Cell;

use mk_sandbox::pd::{Seam, Step};
use mk_sandbox::policy::Policy;
use nix::errno::Errno;
use nix::unistd::Pid;

use crate::probes::{self, Scene};

/// The words of its argument: what is left out (`nothing`, `filter`, `landlock`, `rule` and its number), when something is tried
/// (`before`, `behind`, `never`, or `fail` to make the confinement fail), and what.
pub struct TestSeam {
    argument: String,
    scene: Cell<Option<Scene>>,
}

impl TestSeam {
    fn words(&self) -> Vec<&str> {
        self.argument.split(' ').collect()
    }

    fn attempt(&self, when: &str, starter: Option<Pid>) {
        if let [_, at, probe] = self.words()[..]
            && at == when
        {
            let scene = self.scene.take().expect("set before anything is confined");
            let outcome = probes::attempt(probe, &scene, starter);
            eprintln!("{probe}: {outcome}");
        }
    }
}

impl Seam for TestSeam {
    fn argument(&self) -> String {
        self.argument.clone()
    }

    fn from_argument(argument: &str) -> Self {
        Self { argument: argument.to_owned(), scene: Cell::new(None) }
    }

    fn before(&self, _: Step, _: &str) -> Result<(), Errno> {
        Ok(())
    }

    fn before_own(&self) -> Result<(), Errno> {
        if self.words()[1] == "fail" {
            return Err(Errno::EIO);
        }
        if self.words()[1] != "never" {
            self.scene.set(Some(Scene::new()));
        }
        self.attempt("before", None);
        Ok(())
    }

    fn own_policy(&self, mut policy: Policy) -> Option<Policy> {
        let without = self.words()[0];
        if let Some(rule) = without.strip_prefix("rule") {
            policy.rules.remove(rule.parse().unwrap());
        }
        (without != "filter").then_some(policy)
    }

    fn own_landlock(&self) -> bool {
        self.words()[0] != "landlock"
    }

    fn confined(&self, starter: Option<Pid>) {
        self.attempt("behind", starter);
    }
}
