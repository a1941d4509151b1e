//! Who waits for whom: calls that nobody will answer any more, found when nothing can run.

#![forbid(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::plan::{PagePosition, PdPlan, Plan};
use crate::sdf::PdIndex;
use crate::sys::abi;
use crate::sys::memory::PAGE;

/// An unanswered call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Who called.
    pub caller: PdIndex,
    /// On which of its channels.
    pub id: u8,
    /// Who does not answer.
    pub callee: PdIndex,
}

/// The number of the latest call, on a calling end, or of the call answered, on a serving one. 0 where it cannot be read. `memory` is
/// the channel memory of the end's PD.
pub fn sequence(memory: &File, position: PagePosition) -> u64 {
    let mut word = [0; 8];
    memory.read_exact_at(&mut word, place(position)).map_or(0, |()| u64::from_le_bytes(word))
}

fn place(position: PagePosition) -> u64 {
    position.page * PAGE as u64 + position.offset + abi::MK_OUT_OFF_SEQ
}

/// A call of this number on an end that has been answered up to that one waits for an answer.
pub fn is_open(call: u64, answered: u64) -> bool {
    // One that was withdrawn by a restart waits for nothing.
    call != answered && call & abi::MK_SEQ_WITHDRAWN == 0
}

/// Takes the calls back that a PD has open, which must be stopped or gone: whoever has not begun to serve them will not.
pub fn withdraw<'a>(pd: &PdPlan, memory: impl Fn(PdIndex) -> &'a File) -> io::Result<()> {
    for end in pd.ends.iter().filter(|end| end.rights.may_call) {
        let call = sequence(memory(end.out.pd), end.out);
        if is_open(call, sequence(memory(end.incoming.pd), end.incoming)) {
            // Of the number only the highest byte changes, so its peer, which may be reading it, sees either number and nothing between.
            let [.., highest] = (call | abi::MK_SEQ_WITHDRAWN).to_le_bytes();
            memory(end.out.pd).write_all_at(&[highest], place(end.out) + 7)?;
        }
    }
    Ok(())
}

/// Every call whose number the serving end has not answered. The words are the PDs' own, so a hostile PD can lie, but only about a call
/// between itself and a peer. `memory` gives each PD's channel memory.
pub fn unanswered<'a>(plan: &Plan, memory: impl Fn(PdIndex) -> &'a File) -> Vec<Waiting> {
    let sequence = |position: PagePosition| sequence(memory(position.pd), position);
    plan.pds
        .iter()
        .flat_map(|pd| pd.ends.iter().map(move |end| (pd, end)))
        .filter(|(_, end)| end.rights.may_call)
        .filter(|(_, end)| is_open(sequence(end.out), sequence(end.incoming)))
        .map(|(pd, end)| Waiting { caller: pd.index, id: end.id, callee: end.peer })
        .collect()
}
