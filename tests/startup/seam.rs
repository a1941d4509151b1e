//! The seam of this program: makes a step of one PD fail, holds it there, or looks at the PD from inside on its way.

#![forbid(unsafe_code)]

use std::path::Path;

use mk_sandbox::pd::{Seam, Step};
use nix::errno::Errno;

use super::board::Board;
use super::look::Look;

/// First word of the seam's argument, which no part of the product has: its absence from the binary shows that the seam is not in it.
pub const MARK: &str = "seam-of-the-startup-test";

/// The word of the board that is not blank once the PD stands at its step.
pub const REACHED: usize = 0;

/// What is done at the seam.
pub enum Act {
    /// Nothing.
    Nothing,
    /// The step fails with this.
    Fail(Step, Errno),
    /// It is never left.
    Hold(Step),
    /// What the PD can see and do is written to the board, at each step that [`Look`] has something for.
    Look,
}

/// One act in one PD.
pub struct TestSeam {
    argument: String,
    act: Act,
    pd: String,
    board: Option<Board>,
    look: Look,
}

/// A seam's argument. The PD's name is the last word but the board's path.
pub fn argument(act: &Act, pd: &str, board: &Path) -> String {
    let place = |step: &Step| Step::ALL.iter().position(|other| other == step).unwrap_or(0);
    let act = match act {
        Act::Nothing => "nothing 0 0".to_owned(),
        Act::Fail(step, errno) => format!("fail {} {}", place(step), *errno as i32),
        Act::Hold(step) => format!("hold {} 0", place(step)),
        Act::Look => "look 0 0".to_owned(),
    };
    format!("{MARK} {act} {pd} {}", board.display())
}

impl Seam for TestSeam {
    fn argument(&self) -> String {
        self.argument.clone()
    }

    fn from_argument(argument: &str) -> Self {
        let words: Vec<&str> = argument.split(' ').collect();
        let &[MARK, act, step, errno, pd, board] = words.as_slice() else {
            panic!("`{argument}` is not for this seam");
        };
        let step = Step::ALL[step.parse::<usize>().unwrap()];
        let act = match act {
            "fail" => Act::Fail(step, Errno::from_raw(errno.parse().unwrap())),
            "hold" => Act::Hold(step),
            "look" => Act::Look,
            _ => Act::Nothing,
        };
        let board = match act {
            Act::Hold(_) | Act::Look => Some(Board::open(Path::new(board))),
            Act::Fail(..) | Act::Nothing => None,
        };
        Self { argument: argument.to_owned(), act, pd: pd.to_owned(), board, look: Look::new() }
    }

    fn before(&self, step: Step, pd: &str) -> Result<(), Errno> {
        if pd != self.pd {
            return Ok(());
        }
        match (&self.act, &self.board) {
            (Act::Fail(at, errno), _) if *at == step => Err(*errno),
            (Act::Hold(at), Some(board)) if *at == step => {
                board.put(REACHED, 1);
                loop {
                    std::hint::spin_loop();
                }
            }
            (Act::Look, Some(board)) => {
                self.look.at(step, board);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
