//! What a PD is and what it can do, from outside: the kernel's files about each live PD against the plan of the same system file, and
//! hostile programs against what the launcher reports of them. For some of it this program is launcher and PD host itself.

#[path = "../startup/cases.rs"]
mod cases;
#[path = "../common/mod.rs"]
mod common;

mod ablation;
mod asked;
mod attacks;
mod descriptors;
mod floods;
mod memory;
mod own;
mod peers;
mod process;
mod replaced;
mod scene;
mod smaps;
mod supervision;
mod sweep;
mod table;

use std::process::ExitCode;

use mk_sandbox::pd;

fn main() -> ExitCode {
    pd::entry::<own::Ablated>();
    if let [first, kind, system] = &std::env::args().skip(1).collect::<Vec<_>>()[..]
        && first == own::LAUNCHER
    {
        return own::launcher(kind, system);
    }
    // cargo's own options say nothing to this program; a word selects the cases that have it in their names.
    let wanted = std::env::args().skip(1).find(|word| !word.starts_with('-'));
    let mut cases = cases::Cases::new(wanted);
    let mut held = attacks::Held::default();
    for user in common::users() {
        let scene = scene::Scene::new(user);
        process::cases(&mut cases, &scene);
        descriptors::cases(&mut cases, &scene);
        memory::cases(&mut cases, &scene);
        scene.end();
        supervision::cases(&mut cases, user);
        attacks::cases(&mut cases, user, &mut held);
        sweep::cases(&mut cases, user);
        asked::cases(&mut cases, user);
        floods::cases(&mut cases, user);
        peers::cases(&mut cases, user);
        replaced::cases(&mut cases, user);
        ablation::cases(&mut cases, user);
    }
    table::cases(&mut cases, &common::users());
    println!("attacks held: {} of {}", held.held, held.tried);
    cases.finish()
}
