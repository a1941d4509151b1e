//! PDs that may ask the launcher for something, and turn that against it: states that the kernel will not take back from a tracer,
//! addresses that no arithmetic likes, and questions without end.

#![forbid(unsafe_code)]

use nix::sys::signal::Signal;

use crate::cases::Cases;
use crate::common::{User, World};

/// What all programs here begin with. `ask` is a launcher call; 99 is none, which its answer says.
const HEAD: &str = r#"
#include <microkit.h>

static inline long ask(unsigned long op, unsigned long a, unsigned long b, unsigned long c, unsigned long d)
{
    register unsigned long r10 __asm__("r10") = b;
    register unsigned long r8 __asm__("r8") = c;
    register unsigned long r9 __asm__("r9") = d;
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(231), "D"(78), "S"(op), "d"(a), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

static inline void answered(void)
{
    microkit_dbg_puts(ask(99, 0, 0, 0, 0) == -38 ? "answered\n" : "another answer\n");
}

void notified(microkit_channel ch) { (void)ch; }
"#;

/// A parent that restarts its child at the first fault and leaves it at the second.
const PARENT: &str = r#"
static int faults;

void init(void) { }

seL4_Bool fault(microkit_child child, microkit_msginfo message, microkit_msginfo *reply)
{
    (void)reply;
    microkit_dbg_puts("fault ");
    microkit_dbg_put32(microkit_msginfo_get_label(message));
    microkit_dbg_puts("\n");
    if (++faults == 1) {
        microkit_pd_restart(child, 0);
    } else {
        microkit_dbg_puts("left\n");
    }
    return seL4_False;
}
"#;

/// Something a PD does to its own registers, and then it is a question or a fault: the kernel gives such a state to a tracer,
/// but does not take it back.
const STATES: [(&str, &str); 7] = [
    (
        "gs base in the kernel's half",
        "unsigned long b = 0xffff800000000000; __asm__ volatile(\"wrgsbase %0\" : : \"r\"(b));",
    ),
    ("gs base at the top", "unsigned long b = ~0ul; __asm__ volatile(\"wrgsbase %0\" : : \"r\"(b));"),
    (
        "fs base in the kernel's half",
        "unsigned long b = 0xffff800000000000; __asm__ volatile(\"wrfsbase %0\" : : \"r\"(b));",
    ),
    (
        "ds is a null selector of another ring",
        "unsigned s = 1; __asm__ volatile(\"mov %0, %%ds\" : : \"r\"(s));",
    ),
    (
        "es is a null selector of another ring",
        "unsigned s = 2; __asm__ volatile(\"mov %0, %%es\" : : \"r\"(s));",
    ),
    (
        "gs is a null selector of another ring",
        "unsigned s = 2; __asm__ volatile(\"mov %0, %%gs\" : : \"r\"(s));",
    ),
    (
        "flags of no use",
        "__asm__ volatile(\"pushfq; orq $0x2048d5, (%%rsp); popfq\" : : : \"memory\", \"cc\");",
    ),
];

/// Return addresses for a call of the kernel's vsyscall page, which the filter denies: the process then stands there.
const RETURNS: [&str; 4] = ["0", "1", "0x7fffffffffff", "0xffffffffff600000"];

/// Places that a parent cannot write or, the last three, not even read: the launcher does neither for it. Its region is at 0x4000000, to be
/// read only; a page of its own ends in the middle of what is asked for.
const PLACES: [(&str, &str, bool); 8] = [
    ("a read-only region", "0x4000000ul", true),
    ("its own code", "(unsigned long)init", true),
    ("libmicrokit's code", "(unsigned long)microkit_notify", true),
    ("behind a region", "0x5001000ul - 8", true),
    ("what only its child has", "0x6000000ul", false),
    ("nothing", "0x12345000ul", false),
    ("the kernel's half", "0xffff800000000000ul", false),
    ("the top of all addresses", "~7ul", false),
];

/// Adds the cases.
pub fn cases(cases: &mut Cases, user: User) {
    let name = |what: &str| format!("{}: {what}", format!("{user:?}").to_lowercase());
    for (what, code) in STATES {
        cases.case(&name(&format!("asks with: {what}")), || asks(user, code));
        cases.case(&name(&format!("is restarted with: {what}")), || is_restarted(user, code));
    }
    for back in RETURNS {
        cases.case(&name(&format!("a child calls the vsyscall page from {back}")), || vsyscall(user, back));
    }
    for (what, place, readable) in PLACES {
        cases.case(&name(&format!("has the launcher write to and read from: {what}")), || {
            deputy(user, place, readable)
        });
    }
    cases.case(&name("questions without end, and a time limit"), || spam_and_limit(user));
    cases.case(&name("questions without end, and others with a fault"), || spam_and_fault(user));
}

fn family(parent: &str, child: &str) -> String {
    format!(
        r#"<protection_domain name="{parent}" priority="9">
             <program_image path="{parent}.elf"/>
             <protection_domain name="{child}" id="3" priority="1"><program_image path="{child}.elf"/></protection_domain>
           </protection_domain>"#
    )
}

fn world(user: User, systems: &str, programs: &[(&str, String)]) -> World {
    let world = World::new(user);
    for (name, source) in programs {
        world.program_with(name, &format!("{HEAD}\n{source}"), &["-O1", "-mfsgsbase"]);
    }
    world.system("family.system", &format!("<system>{systems}</system>"));
    world
}

/// A parent in that state asks, and has its answer.
fn asks(user: User, code: &str) -> String {
    let parent =
        format!("{PARENT}\n__attribute__((constructor)) static void begin(void) {{ {code} answered(); }}");
    let child = "void init(void) { microkit_dbg_puts(\"ready\\n\"); }";
    let programs = [("parent", parent), ("child", child.to_owned())];
    let world = world(user, &family("parent", "child"), &programs);
    let outcome = world.run(&["run", "--until-idle", "family.system"]);
    outcome.expect(0).printed("parent", &["answered"]).printed("child", &["ready"]);
    "it is answered, and the system goes on".into()
}

/// A child in that state faults, and its parent restarts it.
fn is_restarted(user: User, code: &str) -> String {
    let child = format!(
        "void init(void) {{ static int starts; microkit_dbg_puts(\"begins\\n\"); {code} if (++starts < 3) __builtin_trap(); }}"
    );
    let world = world(user, &family("parent", "child"), &[("parent", PARENT.to_owned()), ("child", child)]);
    let outcome = world.run(&["run", "--until-idle", "family.system"]);
    outcome
        .printed("parent", &["fault 3", "fault 3", "left"])
        .printed("child", &["begins", "begins"])
        .expect(0);
    "it begins again".into()
}

/// The launcher is asked to store a child's registers there, and to take a child's registers from there.
fn deputy(user: User, place: &str, readable: bool) -> String {
    let parent = format!(
        r#"
{PARENT}

static void say(const char *what, long result)
{{
    microkit_dbg_puts(what);
    microkit_dbg_put32((seL4_Uint32)-result);
    microkit_dbg_puts("\n");
}}

__attribute__((constructor)) static void begin(void)
{{
    static seL4_UserContext registers;
    /* Operations 8 and 9 on the thread of child 3, 20 words. The first is the control. */
    say("own ", ask(8, 128 + 3, 0, 20, (unsigned long)&registers));
    say("store ", ask(8, 128 + 3, 0, 20, {place}));
    say("load ", ask(9, 128 + 3, 0, 20, {place}));
    microkit_dbg_puts(*(volatile unsigned long *)0x4000000 == 0 ? "unchanged\n" : "CHANGED\n");
}}
"#
    );
    // The child stands still, so that registers can be set without harm, whatever they are.
    let child = "void init(void) { microkit_dbg_puts(\"ready\\n\"); }";
    let world = world(user, "", &[("parent", parent), ("child", child.to_owned())]);
    world.system(
        "deputy.system",
        r#"<system>
             <memory_region name="ro" size="0x1000"/>
             <memory_region name="rw" size="0x1000"/>
             <memory_region name="secret" size="0x1000"/>
             <protection_domain name="parent" priority="9">
               <program_image path="parent.elf"/>
               <map mr="ro" vaddr="0x4000000" perms="r"/>
               <map mr="rw" vaddr="0x5000000" perms="rw"/>
               <protection_domain name="child" id="3" priority="1">
                 <program_image path="child.elf"/>
                 <map mr="secret" vaddr="0x6000000" perms="rw"/>
               </protection_domain>
             </protection_domain>
           </system>"#,
    );
    let outcome = world.run(&["run", "--timeout", "20", "--until-idle", "deputy.system"]);
    let lines = outcome.lines_of("parent");
    // What can be read may be taken for registers; whatever the child does with them is its parent's affair.
    let load = if readable && place != "0x5001000ul - 8" { "load 0" } else { "load 14" };
    assert_eq!(lines[..4], ["own 0", "store 14", load, "unchanged"], "{outcome}");
    format!("{}, {}", lines[1], lines[2])
}

fn vsyscall(user: User, back: &str) -> String {
    let child = format!(
        "void init(void) {{ unsigned long back = {back}, call = 0xffffffffff600000ul;\n\
         __asm__ volatile(\"pushq %0; jmpq *%1\" : : \"r\"(back), \"r\"(call) : \"memory\"); }}"
    );
    let world = world(user, &family("parent", "child"), &[("parent", PARENT.to_owned()), ("child", child)]);
    let outcome = world.run(&["run", "--until-idle", "family.system"]);
    // An unknown system call, or, where the kernel has no such page, a fault of memory.
    let lines = outcome.expect(0).lines_of("parent");
    assert!(lines == ["fault 2", "fault 2", "left"] || lines == ["fault 6", "fault 6", "left"], "{outcome}");
    format!("{lines:?}")
}

/// As many families as a system can have, but for one.
const SPAMMERS: usize = 30;

fn spammers(world: &World, more: &str) {
    let spam = format!(
        "{HEAD}\n{PARENT}\n__attribute__((constructor)) static void begin(void) {{ for (;;) ask(99, 0, 0, 0, 0); }}"
    );
    world.program("spam", &spam);
    let many: String = (0..SPAMMERS)
        .map(|number| {
            format!(
                r#"<protection_domain name="spam{number}" priority="2"><program_image path="spam.elf"/>
                   <protection_domain name="idle{number}" id="0"><program_image path="child.elf"/></protection_domain>
                   </protection_domain>"#
            )
        })
        .collect();
    world.system("spam.system", &format!("<system>{many}{more}</system>"));
}

fn spam_and_limit(user: User) -> String {
    let world = world(user, "", &[("child", "void init(void) { }".to_owned())]);
    spammers(&world, "");
    world.run(&["run", "--timeout", "1", "spam.system"]).expect(124);
    format!("{SPAMMERS} PDs ask, and the run ends")
}

fn spam_and_fault(user: User) -> String {
    let faulter = "void init(void) { microkit_dbg_puts(\"begins\\n\"); __builtin_trap(); }".to_owned();
    let programs =
        [("child", "void init(void) { }".to_owned()), ("parent", PARENT.to_owned()), ("faulter", faulter)];
    let world = world(user, "", &programs);
    spammers(&world, &family("parent", "faulter"));
    let mut running = world.start(&["run", "spam.system"]);
    running.wait_for_stdout("parent | left\n");
    running.signal(Signal::SIGTERM);
    running.wait();
    format!("{SPAMMERS} PDs ask, and another family has its faults handled")
}
