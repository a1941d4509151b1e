//! What of a system file Linux has to be told, or does not have: priorities, CPUs, rights to execute, interrupts and ports.

use std::fs;

use mk_sandbox::sys::scheduling::set_nice;
use nix::unistd::{Pid, gettid};

use crate::common::{Running, World, for_each_user};
use crate::scheduling::{SPINNER, Shares, begin, end, spinner};
use crate::{channel, end_of, everywhere, pd, pd_from, program, run, run_with, start, system};

const SLEEPER: &str = "void init(void) { puts(\"up\"); }\nvoid notified(microkit_channel ch) { (void)ch; }\n";

/// Nice value, realtime priority and policy of a process (proc(5)): fields 19, 40 and 41.
fn scheduling(pid: Pid) -> [i64; 3] {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    // The first of these is field 3.
    [19, 40, 41].map(|field| fields[field - 3].parse().unwrap())
}

fn cpus(pid: Pid) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap();
    line.trim().to_owned()
}

fn begun(mut running: Running) -> Running {
    for pd in ["high", "middle", "low"] {
        running.wait_for_stdout(&format!("{pd} | up\n"));
    }
    running
}

const SCHED_OTHER: i64 = 0;
const SCHED_FIFO: i64 = 1;

const THREE: [&str; 3] = ["high", "middle", "low"];

/// The highest priority, one in the middle, with this attribute more, and the lowest.
fn three_priorities(world: &World, middle: &str) {
    program(world, "pd", SLEEPER);
    let elements = [
        pd_from("high", "pd", "priority=\"254\"", ""),
        pd_from("middle", "pd", &format!("priority=\"127\" {middle}"), ""),
        pd_from("low", "pd", "priority=\"0\"", ""),
    ];
    system(world, &elements.concat());
}

#[test]
fn priorities_become_nice_values_and_cpus_are_kept() {
    for_each_user(|world| {
        three_priorities(world, "cpu=\"0\"");
        let running = begun(start(world, "linux", &["-v"]));
        // What the tests themselves are given is where others begin.
        let own = scheduling(Pid::this())[0].max(0);
        let found = THREE.map(|pd| scheduling(running.pd(pd)));
        assert_eq!(found, [own, own + 9, own + 19].map(|nice| [nice.min(19), 0, SCHED_OTHER]));
        assert_eq!(cpus(running.pd("middle")), "0");
        assert_eq!(cpus(running.pd("low")), cpus(Pid::this()));
        let outcome = end_of(running);
        outcome.expect(0).says("priorities are nice values");
    });
}

/// Also where the kernel shares the CPUs among sessions first (sched(7), "The autogroup feature").
#[test]
fn nice_values_weigh_between_pds() {
    for_each_user(|world| {
        program(world, "spinner", SPINNER);
        let elements =
            [spinner("high", "priority=\"254\" cpu=\"0\""), spinner("low", "priority=\"0\" cpu=\"0\"")];
        system(world, &elements.concat());
        let running = begin(world, "linux", &["high", "low"]);
        let [high, low] = Shares::of(&running, ["high", "low"]).ran;
        let [own, ..] = scheduling(running.pid());
        end(running);
        // By sched_prio_to_weight of the kernel it is 1 in 68 where the launcher's nice value is 0 or below, and 1 in 7 where it is 10.
        // Beyond that there is not much left to tell PDs apart by.
        assert!(low < 0.3 * high || own > 10, "{high} to {low}");
    });
}

/// Nobody but root may go below the launcher's own value.
#[test]
fn a_nice_launcher_has_nicer_pds() {
    // A thread has a nice value of its own, which what it starts begins with.
    let thread = std::thread::spawn(|| {
        set_nice(gettid(), 7).unwrap();
        for_each_user(|world| {
            three_priorities(world, "");
            let running = begun(start(world, "linux", &[]));
            assert_eq!(THREE.map(|pd| scheduling(running.pd(pd))[0]), [7, 16, 19]);
            end_of(running).expect(0);
        });
    });
    thread.join().unwrap();
}

/// Where the host allows it; where not, that is said, and the system runs.
#[test]
fn priorities_become_realtime_where_allowed() {
    for_each_user(|world| {
        three_priorities(world, "");
        let running = begun(start(world, "linux", &["--realtime"]));
        let found = THREE.map(|pd| scheduling(running.pd(pd)));
        let outcome = end_of(running);
        outcome.expect(0);
        if outcome.stderr.contains("this host does not allow realtime priorities") {
            let own = scheduling(Pid::this())[0].max(0);
            assert_eq!(found.map(|[nice, ..]| nice), [own, own + 9, own + 19].map(|nice| nice.min(19)));
            assert_eq!(found.map(|[_, priority, policy]| [priority, policy]), [[0, SCHED_OTHER]; 3]);
            outcome.says("PD `low`: this host does not allow realtime priorities; nice 19 instead");
        } else {
            assert_eq!(
                found.map(|[_, priority, policy]| [priority, policy]),
                [[99, SCHED_FIFO], [50, SCHED_FIFO], [1, SCHED_FIFO]]
            );
        }
    });
}

#[test]
fn memory_that_is_written_and_executed_has_to_be_asked_for() {
    everywhere(|world, schedule| {
        program(
            world,
            "pd",
            r#"
            unsigned char *code;
            void init(void) {
                /* mov eax, 42; ret */
                const unsigned char bytes[] = {0xb8, 42, 0, 0, 0, 0xc3};
                memcpy(code, bytes, sizeof bytes);
                printf("%d\n", ((int (*)(void))code)());
            }
            void notified(microkit_channel ch) { (void)ch; }
            "#,
        );
        // Also in two maps of one region.
        for maps in [
            "<map mr=\"code\" vaddr=\"0x5000000\" perms=\"rwx\" setvar_vaddr=\"code\"/>\n",
            "<map mr=\"code\" vaddr=\"0x5000000\" perms=\"rw\" setvar_vaddr=\"code\"/><map mr=\"code\" vaddr=\"0x6000000\" perms=\"rx\"/>\n",
        ] {
            system(world, &format!("<memory_region name=\"code\" size=\"0x1000\"/>\n{}", pd("pd", "", maps)));
            let refused = run(world, schedule);
            refused.expect(3).says("PD `pd` could write and execute region `code`").says("--allow wx");
            assert_eq!(refused.stdout, "");
        }
        system(
            world,
            &format!(
                "<memory_region name=\"code\" size=\"0x1000\"/>\n{}",
                pd("pd", "", "<map mr=\"code\" vaddr=\"0x5000000\" perms=\"rwx\" setvar_vaddr=\"code\"/>\n")
            ),
        );
        run_with(world, schedule, &["--allow", "wx"]).expect(0).printed("pd", &["42"]);
    });
}

/// They have their ids and variables, what is done with them is done in silence, and the user is told once that nothing drives them.
#[test]
fn interrupts_and_ports_are_inert_and_that_is_said_once() {
    everywhere(|world, schedule| {
        program(
            world,
            "pd",
            r#"
            uint64_t first_irq, second_irq, port, port_address;
            void init(void) {
                printf("irqs %#lx, ports %#lx\n", microkit_irqs, microkit_ioports);
                printf("%lu, %lu, %lu, %#lx\n", first_irq, second_irq, port, port_address);
                microkit_irq_ack(3);
                microkit_deferred_irq_ack(5);
                microkit_x86_ioport_write_8(2, 0x60, 1);
                printf("reads %#x\n", microkit_x86_ioport_read_8(2, 0x60));
                microkit_irq_ack(4);
                microkit_x86_ioport_write_8(3, 0x60, 1);
                microkit_notify(10);
            }
            void notified(microkit_channel ch) { printf("notified %u\n", ch); }
            "#,
        );
        let inside = "\
            <irq id=\"3\" pin=\"1\" vector=\"0\" setvar_id=\"first_irq\"/>\n\
            <irq id=\"5\" pcidev=\"00:01.0\" handle=\"0\" vector=\"1\" setvar_id=\"second_irq\"/>\n\
            <ioport id=\"2\" addr=\"0x60\" size=\"8\" setvar_id=\"port\" setvar_addr=\"port_address\"/>\n\
            <ioport id=\"4\" addr=\"0x70\" size=\"8\"/>\n";
        system(world, &(pd("pd", "", inside) + &channel(("pd", 10, ""), ("pd", 11, ""))));
        let outcome = run(world, schedule);
        outcome.expect(0).printed(
            "pd",
            &[
                "irqs 0x28, ports 0x14",
                "3, 5, 2, 0x60",
                "reads 0xff",
                "pd microkit_irq_ack: invalid channel given '4'",
                "pd microkit_x86_ioport_write_8: invalid I/O port given '3'",
                "notified 11",
            ],
        );
        assert_eq!(outcome.stderr.matches("warning: ").count(), 2, "one for each kind: {outcome}");
    });
}

/// An image without a symbol table, and its variables found in the file it was stripped from.
#[test]
fn symbols_of_a_stripped_image_are_found_in_the_other_file() {
    for_each_user(|world| {
        let code = "#include <microkit.h>\n#include <stdio.h>\n#include <stdint.h>\nstatic volatile uint64_t address = 1;\n\
                    void init(void) { printf(\"%#lx\\n\", address); }\nvoid notified(microkit_channel ch) { (void)ch; }\n";
        world.program_with("full", code, &["-O1"]);
        world.program_with("pd", code, &["-O1", "-s"]);
        let region = "<memory_region name=\"r\" size=\"0x1000\"/>\n";
        let file = |symbols: &str| {
            format!(
                "<system>{region}<protection_domain name=\"pd\"><program_image path=\"pd.elf\" {symbols}/>\
                 <map mr=\"r\" vaddr=\"0x5000000\" setvar_vaddr=\"address\"/></protection_domain></system>"
            )
        };
        world.system("x.system", &file(""));
        run(world, "linux").expect(3).says("address");
        world.system("x.system", &file("path_for_symbols=\"full.elf\""));
        run(world, "linux").expect(0).printed("pd", &["0x5000000"]);
    });
}
