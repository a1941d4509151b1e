//! libmicrokit alone, without a sandbox: `tests/libmicrokit/` holds a launcher in miniature and the systems it runs on
//! the very library that the binary carries. Each test is one run of it for each way of waiting.

#![forbid(unsafe_code)]

#[path = "libmicrokit/race.rs"]
mod race;
#[path = "libmicrokit/supervision.rs"]
mod supervision;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

const STRATEGIES: [&str; 3] = ["auto", "spin", "sleep"];

/// Directory of the libmicrokit.so that build.rs has built.
const LIBRARY: &str = env!("OUT_DIR");

fn build_harness() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources = root.join("tests/libmicrokit");
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("libmicrokit-harness");
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let mut command = Command::new(compiler);
    command.args(["-std=c11", "-O1", "-Wall", "-Wextra", "-Werror"]);
    command.arg("-I").arg(root.join("include")).arg("-I").arg(root.join("libmicrokit"));
    for entry in sources.read_dir().expect("the harness has sources") {
        let path = entry.expect("the sources are readable").path();
        if path.extension().is_some_and(|extension| extension == "c") {
            command.arg(path);
        }
    }
    command.arg("-o").arg(&program).arg("-L").arg(LIBRARY).arg("-lmicrokit");
    command.arg(format!("-Wl,-rpath,{LIBRARY}"));
    let output = command.output().expect("a C compiler runs; install one or set CC");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the harness does not compile: {errors}");
    program
}

fn harness() -> &'static Path {
    static HARNESS: OnceLock<PathBuf> = OnceLock::new();
    HARNESS.get_or_init(build_harness)
}

/// Runs one system to its end, which must be good, and returns what its PDs printed.
fn run(test: &str, strategy: &str, arguments: &[&str]) -> String {
    let output =
        Command::new(harness()).args([test, strategy]).args(arguments).output().expect("the harness runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{test} {strategy}: {} {errors}", output.status);
    String::from_utf8(output.stdout).expect("PDs print UTF-8")
}

fn in_every_strategy(test: &str) {
    for strategy in STRATEGIES {
        assert_eq!(run(test, strategy, &[]), "", "{test} {strategy}: nothing is printed");
    }
}

fn prints(test: &str, expected: &str) {
    assert_eq!(run(test, "auto", &[]), expected);
}

#[test]
fn notifications_to_a_busy_pd_coalesce() {
    in_every_strategy("coalesce");
}

#[test]
fn one_snapshot_is_delivered_in_ascending_order_under_own_ids() {
    in_every_strategy("order");
}

#[test]
fn notifications_come_before_calls() {
    in_every_strategy("before_calls");
}

#[test]
fn what_is_signalled_first_is_heard_first() {
    for (strategy, rounds) in [("auto", "300000"), ("spin", "300000"), ("sleep", "30000")] {
        assert_eq!(run("succession", strategy, &[rounds]), "");
    }
    assert_eq!(run("succession", "spin", &["30000 with noise"]), "");
}

#[test]
fn announcements_without_end_keep_nobody_waiting() {
    for strategy in STRATEGIES {
        assert_eq!(run("announcements", strategy, &["20000"]), "");
    }
}

#[test]
fn a_pd_notifies_itself() {
    in_every_strategy("self_channel");
}

#[test]
fn all_62_channels_carry() {
    in_every_strategy("all_channels");
}

#[test]
fn a_sleeper_is_woken_every_time() {
    in_every_strategy("wake");
}

#[test]
fn a_pd_blocked_in_a_call_is_neither_rung_nor_notified() {
    in_every_strategy("blocked");
}

#[test]
fn every_count_of_registers_goes_both_ways() {
    in_every_strategy("registers");
}

#[test]
fn callers_are_served_by_priority_then_in_order_of_arrival() {
    in_every_strategy("queue");
}

#[test]
fn calls_nest() {
    in_every_strategy("nested");
}

#[test]
fn the_deferred_action_comes_before_the_reply() {
    in_every_strategy("deferred");
}

#[test]
fn sel4_slots_reach_the_same_ends() {
    in_every_strategy("slots");
}

#[test]
fn constructors_run_in_order_and_find_the_globals_set() {
    let name = "starts_with_a_name_of_63_bytes_which_is_as_long_as_names_may_be";
    prints("start", &format!("{name}\n"));
}

#[test]
fn the_console_prints_text_and_numbers() {
    prints("console", "text 0 255 4294967295 0 c end\n");
}

#[test]
fn what_is_not_granted_is_refused_with_a_message() {
    prints(
        "invalid",
        "asks microkit_notify: invalid channel given '0'\n\
         asks microkit_notify: invalid channel given '2'\n\
         asks microkit_notify: invalid channel given '61'\n\
         asks microkit_notify: invalid channel given '62'\n\
         asks microkit_notify: invalid channel given '4294967295'\n\
         asks microkit_deferred_notify: invalid channel given '63'\n\
         asks microkit_irq_ack: invalid channel given '3'\n\
         asks microkit_irq_ack: invalid channel given '64'\n\
         asks microkit_deferred_irq_ack: invalid channel given '5'\n\
         asks microkit_ppcall: invalid channel given '1'\n\
         asks microkit_ppcall: invalid channel given '66'\n\
         asks microkit_ppcall: more than 120 message registers given '121'\n\
         asks microkit_ppcall: more than 120 message registers given '127'\n\
         asks microkit_pd_restart: invalid child given '0'\n\
         asks microkit_pd_stop: invalid child given '1'\n\
         asks microkit_pd_resume: invalid child given '63'\n",
    );
}

#[test]
fn what_linux_does_not_have_says_so() {
    let calls = [
        "arm_smc_call",
        "vcpu_restart",
        "vcpu_stop",
        "vcpu_arm_inject_irq",
        "vcpu_arm_ack_vppi",
        "vcpu_arm_read_reg",
        "vcpu_arm_write_reg",
        "vcpu_x86_read_vmcs",
        "vcpu_x86_write_vmcs",
        "vcpu_x86_read_msr",
        "vcpu_x86_write_msr",
        "vcpu_x86_enable_ioport",
        "vcpu_x86_disable_ioport",
        "vcpu_x86_write_regs",
    ];
    let mut expected = String::from(
        "asks microkit_x86_ioport_read_8: invalid I/O port given '0'\n\
         asks microkit_x86_ioport_write_32: invalid I/O port given '64'\n",
    );
    for call in calls {
        expected += &format!("asks microkit_{call}: not available on Linux\n");
    }
    prints("unavailable", &expected);
}

/// The line before a deliberate crash, then the crash's own.
fn crashes(test: &str, message: &str, error: u32) {
    let crash = "microkit_internal_crash: crashing on purpose with error";
    prints(test, &format!("{message}faulty {crash} '{error}'\n"));
}

#[test]
fn a_call_to_a_program_without_protected_is_a_fault() {
    crashes("no_protected", "faulty is missing the 'protected' entry point\n", 0);
}

#[test]
fn a_deliberate_crash_is_a_fault() {
    crashes("crash", "", 4);
}

#[test]
fn a_handoff_of_another_version_is_a_fault() {
    let message = "faulty mk_start: the handoff is not of this library's version\n";
    crashes("version", message, 1);
}

#[test]
fn a_lost_doorbell_is_a_fault_and_not_a_silent_spin() {
    crashes("no_doorbell", "faulty has lost its doorbell\n", 6);
}

#[test]
fn correct_pds_do_not_notice_a_hostile_one() {
    for strategy in STRATEGIES {
        assert_eq!(run("hostile", strategy, &["20000"]), "");
    }
}

#[test]
fn a_hostile_reply_stays_within_bounds() {
    for strategy in STRATEGIES {
        assert_eq!(run("bounds", strategy, &["20000"]), "");
    }
}

#[test]
fn a_flooded_doorbell_loses_nothing_and_blocks_nobody() {
    in_every_strategy("flood");
}

/// Sleeping costs two wake-ups a message, hence fewer of them.
const STRESS: [(&str, &str); 3] = [("auto", "1000000"), ("spin", "1000000"), ("sleep", "100000")];

#[test]
fn messages_at_the_moment_of_falling_asleep() {
    for strategy in STRATEGIES {
        assert_eq!(run("edge", strategy, &["10000"]), "");
        assert_eq!(run("call_edge", strategy, &["10000"]), "");
    }
}

#[test]
fn a_million_notifications_at_odd_moments() {
    for (strategy, messages) in STRESS {
        assert_eq!(run("notifications", strategy, &[messages]), "");
    }
}

#[test]
fn a_million_calls_at_odd_moments() {
    for (strategy, messages) in STRESS {
        assert_eq!(run("calls", strategy, &[messages]), "");
    }
}

#[test]
#[ignore = "needs gcc with its race detector"]
fn no_race_is_found() {
    race::no_race_is_found();
}

#[test]
#[ignore = "needs gcc with its race detector"]
fn a_message_published_without_order_is_noticed() {
    race::a_message_published_without_order_is_noticed();
}

/// Nearly all of them between PDs that spin: a message costs well under a microsecond then.
#[test]
#[ignore = "takes minutes"]
fn a_hundred_million_messages_at_odd_moments() {
    for _ in 0..10 {
        assert_eq!(run("edge", "spin", &["5000000"]), "");
        assert_eq!(run("call_edge", "spin", &["4900000"]), "");
        assert_eq!(run("call_edge", "auto", &["90000"]), "");
        assert_eq!(run("edge", "sleep", &["10000"]), "");
    }
}

#[test]
fn spinning_stops_where_it_does_not_pay() {
    prints("estimate", "");
}
