//! Children and their faults, PDs that start again, and PDs that the launcher schedules.

#![forbid(unsafe_code)]

use super::{STRATEGIES, in_every_strategy, prints, run};

/// For a PD that is started again where it stands, and for one that gets a new process.
fn however_it_starts_again(test: &str) {
    for strategy in STRATEGIES {
        for how in ["again", "new"] {
            assert_eq!(run(test, strategy, &[how]), "", "{test} {strategy} {how}: nothing is printed");
        }
    }
}

#[test]
fn notifications_come_before_faults_and_faults_before_calls() {
    for strategy in STRATEGIES {
        assert_eq!(
            run("fault_order", strategy, &[]),
            "parent: fault_take = 1\n\
             parent: fault_reply 3 resume label 0 count 1 = 0\n\
             parent: fault_take = 1\n\
             parent: fault_reply 5 leave label 0 count 1 = 0\n"
        );
    }
}

#[test]
fn the_deferred_action_comes_before_the_reply_to_a_fault() {
    in_every_strategy("fault_deferred");
}

#[test]
fn a_fault_reported_to_a_program_without_fault_is_a_fault() {
    prints(
        "no_fault",
        "parent is missing the 'fault' entry point\n\
         parent microkit_internal_crash: crashing on purpose with error '0'\n",
    );
}

#[test]
fn a_sleeping_parent_hears_of_every_fault() {
    in_every_strategy("fault_sleeper");
}

#[test]
fn a_fault_that_was_settled_meanwhile_is_not_handled() {
    in_every_strategy("fault_settled");
}

#[test]
fn a_parent_controls_its_children_and_nobody_else() {
    prints(
        "control",
        "parent: pd_restart 0 at 0 = 0\n\
         parent: pd_restart 61 at 0x200000 = 0\n\
         parent: pd_stop 0 = 0\n\
         parent: pd_resume 0 = 0\n\
         parent: pd_resume 61 = -3\n\
         parent microkit_pd_resume: the launcher cannot do this to child '61'\n\
         parent microkit_pd_restart: invalid child given '1'\n\
         parent microkit_pd_stop: invalid child given '62'\n\
         parent microkit_pd_resume: invalid child given '4294967295'\n\
         parent microkit_pd_stop: invalid child given '64'\n",
    );
}

#[test]
fn invocations_reach_what_a_slot_holds() {
    prints(
        "cspace",
        "parent: tcb_suspend 1 = 0\n\
         parent: tcb_resume 127 = 0\n\
         parent: tcb_suspend 130 = 0\n\
         parent: tcb_read 1 1 count 1 = 0\n\
         parent: tcb_read 1 1 count 20 = 0\n\
         parent: tcb_write 130 1 count 20 = 0\n\
         parent: tcb_write 130 0 count 1 = 0\n\
         parent: tcb_write 130 1 count 0 = 0\n\
         parent: tcb_write 130 1 count 1 = -22\n\
         parent: tcb_suspend 5 = -3\n\
         parent: sc_consumed 64 = 0\n\
         parent: sc_consumed 1 = -1\n\
         parent: tcb_suspend 64 = -1\n\
         what follows is not asked\n",
    );
}

#[test]
fn a_child_starts_again_from_every_state() {
    in_every_strategy("states");
}

#[test]
fn a_stopped_child_goes_on_where_it_was() {
    in_every_strategy("resume");
}

#[test]
fn notifications_that_reached_no_handler_survive() {
    however_it_starts_again("taken");
}

#[test]
fn who_starts_again_is_heard_again() {
    however_it_starts_again("sender");
}

#[test]
fn what_was_sent_without_waking_is_heard() {
    however_it_starts_again("silent_notification");
    however_it_starts_again("silent_answer");
}

#[test]
fn a_call_that_was_taken_is_served_again() {
    however_it_starts_again("server");
}

#[test]
fn a_call_is_withdrawn_when_its_caller_starts_again() {
    however_it_starts_again("queued");
    however_it_starts_again("in_service");
    however_it_starts_again("dropped");
}

#[test]
fn no_message_is_served_in_parts() {
    for strategy in STRATEGIES {
        assert_eq!(run("whole", strategy, &["50000"]), "");
    }
}

#[test]
fn what_was_deferred_is_kept_with_the_rest_of_memory() {
    for strategy in STRATEGIES {
        assert_eq!(run("left", strategy, &["again"]), "");
    }
}

#[test]
fn a_parent_that_starts_again_takes_the_faults_that_wait() {
    however_it_starts_again("parent");
}

/// One PD runs at a time, so its order is the only one.
#[test]
fn the_launcher_is_told_of_every_message_and_of_having_nothing_to_do() {
    prints(
        "scheduled",
        "server starts\n\
         server: sleep = 0\n\
         watcher starts\n\
         watcher: sleep = 0\n\
         client calls\n\
         client: signalled 1 = 0\n\
         server serves\n\
         server: signalled 1 = 0\n\
         server: signalled 1 = 0\n\
         server: sleep = 0\n\
         client is answered\n\
         client: signalled 2 = 0\n\
         watcher hears\n\
         watcher: sleep = 0\n\
         client goes on\n\
         client: signalled 2 = 0\n\
         watcher hears\n\
         watcher: signalled 2 = 0\n\
         watcher: sleep = 0\n\
         client hears\n\
         client hears\n",
    );
}

#[test]
fn a_fault_is_handled_where_the_launcher_schedules() {
    prints(
        "family",
        "parent starts\n\
         parent: sleep = 0\n\
         child starts\n\
         child: signalled 3 = 0\n\
         parent hears\n\
         parent: sleep = 0\n\
         parent: fault_take = 1\n\
         parent handles\n\
         parent: pd_restart 6 at 0 = 0\n\
         parent: fault_reply 6 leave label 0 count 0 = 0\n\
         parent: sleep = 0\n\
         child: signalled 3 = 0\n\
         parent: sleep = 0\n\
         child starts\n\
         child: signalled 3 = 0\n\
         parent hears\n\
         parent: sleep = 0\n\
         parent: fault_take = 1\n\
         parent handles\n",
    );
}

#[test]
fn a_caller_sleeps_in_the_launcher_until_it_is_answered() {
    prints(
        "early",
        "caller: signalled 2 = 0\n\
         caller: sleep = 0\n\
         server starts\n\
         server serves\n\
         server: signalled 1 = 0\n\
         caller: sleep = 0\n\
         server: signalled 1 = 0\n\
         caller is answered\n",
    );
}

#[test]
fn a_launcher_that_does_not_schedule_after_all_is_a_fault() {
    prints(
        "unscheduled",
        "server starts\n\
         faulty is not scheduled by the launcher\n\
         faulty microkit_internal_crash: crashing on purpose with error '6'\n",
    );
}
