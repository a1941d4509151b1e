//! Faults: each is reported with the PD, what it did, why that may not be, and where; the others go on.

use crate::common::{Outcome, World, for_each_user};
use crate::{HEADERS, channel, init_program, one_pd, pds, program, run_until_idle};

/// Runs a PD that does this in a function `culprit`, called by `init`.
fn run_culprit(world: &World, code: &str) -> Outcome {
    let source = format!(
        "#define _GNU_SOURCE\n{HEADERS}#include <unistd.h>\n#include <sys/syscall.h>\n#include <fcntl.h>\n#include <sys/socket.h>\n#include <sys/mman.h>\n\
         #include <sys/random.h>\n#include <poll.h>\n#include <sched.h>\n#include <signal.h>\n\
         __attribute__((noinline)) void culprit(void) {{ {code} }}\n\
         void init(void) {{ puts(\"now\"); culprit(); puts(\"never\"); }}\n\
         void notified(microkit_channel ch) {{ (void)ch; }}\n"
    );
    world.program_with("pd", &source, &["-O1", "-fno-optimize-sibling-calls"]);
    one_pd(world, "", "");
    let outcome = run_until_idle(world);
    assert_eq!(outcome.code, Some(1), "{code}\n{outcome}");
    outcome.printed("pd", &["now"]);
    outcome.says("nobody handles it: it stays stopped, the others go on");
    outcome
}

#[test]
fn each_kind_of_fault_has_its_words_and_place() {
    // What it does; what is said of it; where it is.
    let kinds = [
        ("*(volatile int *)0 = 1;", "write to 0x0: a null pointer", "at culprit"),
        ("(void)*(volatile int *)0x8;", "read of 0x8: a null pointer", "at culprit"),
        ("((void (*)(void))0)();", "execution of 0x0: a null pointer", "called from culprit"),
        (
            "volatile int zero = 0; volatile int x = 7 / zero; (void)x;",
            "SIGFPE: an arithmetic exception, as a division by zero",
            "at culprit",
        ),
        ("__builtin_trap();", "SIGILL: an illegal instruction, as __builtin_trap or ud2", "at culprit"),
        ("__asm__ volatile(\"int3\");", "breakpoint: a breakpoint instruction", "at culprit"),
        (
            "__asm__ volatile(\"hlt\");",
            "SIGSEGV: a general protection fault, as a privileged instruction or a non-canonical address",
            "at culprit",
        ),
        (
            "*(volatile int *)0x8000000000000000UL = 1;",
            "SIGSEGV: a general protection fault, as a privileged instruction or a non-canonical address",
            "at culprit",
        ),
        ("__asm__ volatile(\"cli\");", "SIGSEGV: a general protection fault", "at culprit"),
        (
            "(void)open(\"/etc/passwd\", O_RDONLY);",
            "denied system call openat(dirfd=AT_FDCWD, path=\"/etc/passwd\", flags=O_RDONLY, mode=0o0): a PD has no files",
            "in libc.so.6, called from culprit",
        ),
        ("(void)syscall(SYS_getpid);", "denied system call getpid(", "in libc.so.6, called from culprit"),
        (
            "(void)syscall(1000, 1, 2, 3, 4, 5, 6);",
            "denied system call 1000(0x1, 0x2, 0x3, 0x4, 0x5, 0x6): Linux has no such system call",
            "called from culprit",
        ),
        ("exit(3);", "denied system call exit_group(status=3): a PD does not end by itself", "called from"),
        ("abort();", "denied system call ", "called from culprit"),
    ];
    for_each_user(|world| {
        for (code, says, place) in kinds {
            let outcome = run_culprit(world, code);
            outcome.says(&format!("mk-sandbox: fault: PD `pd`: {says}")).says(place).says("in pd.elf");
        }
    });
}

/// A call of each kind: by name, with its arguments, why there is no rule for it, and what there is instead.
#[test]
fn a_denied_system_call_is_explained() {
    let calls = [
        (
            "socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)",
            "socket(domain=AF_INET, type=SOCK_STREAM|SOCK_CLOEXEC, protocol=0): networking is not something a PD can have",
            "it would take a rule for socket in policy/running.json, and there is none\n  instead: talk to other PDs over channels",
        ),
        (
            "mmap(0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)",
            "mmap(address=0x0, length=4096, prot=PROT_READ|PROT_EXEC, flags=MAP_PRIVATE|MAP_ANONYMOUS, fd=-1, offset=0): memory is what",
            "policy/running.json answers mmap only where prot = PROT_READ|PROT_WRITE\n  instead: use regions",
        ),
        (
            "syscall(SYS_clone, CLONE_VM | CLONE_THREAD | CLONE_SIGHAND, 0, 0, 0, 0)",
            "clone(flags=CLONE_VM|CLONE_SIGHAND|CLONE_THREAD, stack=0x0, parent_tid=0x0, child_tid=0x0, tls=0x0): threads",
            "instead: make another protection domain of it",
        ),
        (
            "execve(\"/bin/sh\", 0, 0)",
            "execve(path=\"/bin/sh\", argv=0x0, envp=0x0): a PD is one process",
            "instead: ",
        ),
        ("kill(-1, 9)", "kill(pid=-1, signal=9): a PD sends and handles no signals", "instead: "),
        ("sleep(1)", "clock_nanosleep(clock=0, flags=0x0, time=", "instead: count work"),
        (
            "poll(0, 0, 5)",
            "poll(fds=0x0, count=0, timeout=5): a PD waits in one place",
            "instead: return from",
        ),
        ("close(3)", "close(fd=3): a PD keeps the descriptors it was given", "instead: the channels"),
        ("sched_yield()", "sched_yield(): when a PD runs", "instead: change those attributes"),
        ("unshare(CLONE_NEWUSER)", "unshare(flags=CLONE_NEWUSER): what could widen", "instead: everything"),
        (
            "getrandom((void *)64, 16, 0)",
            "getrandom(buf=0x40, length=16, flags=0x0): no file",
            "instead: put a seed",
        ),
        ("syscall(0x40000000 + 39)", "denied system call 1073741863(", "no rule can name it"),
        // What a PD points to may be anything, or nothing.
        ("open((char *)8, O_RDWR)", "openat(dirfd=AT_FDCWD, path=0x8, flags=O_RDWR", "instead: "),
        (
            "unlink(\"\\033[2J\\n\")",
            r#"unlink(path="\x1b[2J\n"): a PD has no files"#,
            "instead: give it the data",
        ),
    ];
    for_each_user(|world| {
        for (code, what, rule) in calls {
            run_culprit(world, &format!("(void)!{code};")).says(what).says(rule).says("called from culprit");
        }
    });
}

/// The caller is named by the symbol table, also a static function; a stripped image has offsets left.
#[test]
fn the_place_of_a_call_needs_no_exported_symbol() {
    let source = format!(
        "{HEADERS}\
         __attribute__((noinline)) static long ask(long number) {{\n\
             long result;\n\
             __asm__ volatile(\"syscall\" : \"=a\"(result) : \"a\"(number) : \"rcx\", \"r11\", \"memory\");\n\
             return result;\n\
         }}\n\
         void init(void) {{ ask(39); }}\nvoid notified(microkit_channel ch) {{ (void)ch; }}\n"
    );
    for_each_user(|world| {
        world.program("pd", &source);
        one_pd(world, "", "");
        let named = run_until_idle(world);
        named.expect(1).says("denied system call getpid(): ").says("\n  at ask+0x").says(" in pd.elf\n");
        world.program_with("pd", &source, &["-s"]);
        let stripped = run_until_idle(world);
        stripped.expect(1).says("denied system call getpid(): ");
        let place = stripped.stderr.lines().find_map(|line| line.strip_prefix("  at ")).expect("a place");
        // Exported symbols are in every image: `init` may stand before the static function.
        let is_offset = place.starts_with("0x") || place.starts_with("init+0x");
        assert!(is_offset && place.ends_with(" in pd.elf"), "{place}");
    });
}

/// A stack overflow by recursion is called one.
#[test]
fn endless_recursion_is_a_stack_overflow() {
    for_each_user(|world| {
        let before = r#"
            static volatile int depth;
            __attribute__((noinline)) static int deeper(int x) { depth++; volatile char frame[64]; frame[0] = x; return deeper(x + 1) + frame[0]; }
        "#;
        init_program(world, "pd", before, "printf(\"%d\\n\", deeper(0));");
        one_pd(world, "", "");
        let outcome = run_until_idle(world);
        outcome
            .expect(1)
            .printed("pd", &[])
            .says("stack overflow: the stack has 0x2000 bytes (stack_size)")
            .says("at deeper+");
    });
}

#[test]
fn microkit_internal_crash_is_a_fault_at_its_number() {
    for_each_user(|world| {
        init_program(world, "pd", "", "microkit_internal_crash(seL4_RangeError);");
        one_pd(world, "", "");
        let outcome = run_until_idle(world);
        outcome
            .expect(1)
            .printed("pd", &["pd microkit_internal_crash: crashing on purpose with error '4'"])
            .says("fault: PD `pd`: write to 0x4: a null pointer")
            .says("in libmicrokit.so, called from init");
    });
}

/// What a PD printed before its fault is told before it, also without a newline, and a fault takes nobody along.
#[test]
fn the_others_go_on() {
    for_each_user(|world| {
        init_program(
            world,
            "victim",
            "",
            "microkit_dbg_puts(\"last words\"); microkit_notify(0); *(volatile int *)0 = 1;",
        );
        program(
            world,
            "witness",
            r#"
            void init(void) {}
            void notified(microkit_channel ch) { printf("heard %u\n", ch); microkit_notify(ch); microkit_notify(5); }
            "#,
        );
        program(
            world,
            "third",
            r#"
            void init(void) {}
            void notified(microkit_channel ch) { printf("heard %u\n", ch); }
            "#,
        );
        let system = [
            pds(&[("victim", 0), ("witness", 0), ("third", 0)]),
            channel(("victim", 0, ""), ("witness", 2, "")),
            channel(("witness", 5, ""), ("third", 6, "")),
        ];
        world.system("x.system", &format!("<system>{}</system>", system.concat()));
        let outcome = run_until_idle(world);
        outcome
            .expect(1)
            .printed("victim", &["last words"])
            .printed("witness", &["heard 2"])
            .printed("third", &["heard 6"])
            .says("fault: PD `victim`: write to 0x0: a null pointer\n  at init");
        assert_eq!(outcome.stderr.matches("fault: PD").count(), 1, "{outcome}");
    });
}

/// Several PDs fault at the same time: each is reported, once.
#[test]
fn every_fault_is_reported_once() {
    for_each_user(|world| {
        init_program(world, "bad", "", "*(volatile int *)0 = 1;");
        let mut system = String::new();
        for index in 0..12 {
            system += &format!(
                "<protection_domain name=\"bad{index}\"><program_image path=\"bad.elf\"/></protection_domain>"
            );
        }
        world.system("x.system", &format!("<system>{system}</system>"));
        let outcome = run_until_idle(world);
        outcome.expect(1);
        for index in 0..12 {
            let start = format!("fault: PD `bad{index}`:");
            assert_eq!(outcome.stderr.matches(&start).count(), 1, "{start}\n{outcome}");
        }
    });
}
