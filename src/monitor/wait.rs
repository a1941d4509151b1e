//! Who waits for whom: calls that nobody will answer any more, found when nothing can run.

#![forbid(unsafe_code)]

use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::plan::{PagePosition, Plan};
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

/// Every call whose number the serving end has not answered. The words are the PDs' own, so a hostile PD can lie, but only about a call
/// between itself and a peer. `memory` gives each PD's channel memory.
pub fn unanswered<'a>(plan: &Plan, memory: impl Fn(PdIndex) -> &'a File) -> Vec<Waiting> {
    let sequence = |position: PagePosition| -> u64 {
        let at = position.page * PAGE as u64 + position.offset + abi::MK_OUT_OFF_SEQ;
        let mut word = [0; 8];
        memory(position.pd).read_exact_at(&mut word, at).map_or(0, |()| u64::from_le_bytes(word))
    };
    plan.pds
        .iter()
        .flat_map(|pd| pd.ends.iter().map(move |end| (pd, end)))
        .filter(|(_, end)| end.rights.may_call)
        .filter(|(_, end)| {
            let call = sequence(end.out);
            // One that was withdrawn by a restart waits for nothing.
            call != sequence(end.incoming) && call & abi::MK_SEQ_WITHDRAWN == 0
        })
        .map(|(pd, end)| Waiting { caller: pd.index, id: end.id, callee: end.peer })
        .collect()
}
