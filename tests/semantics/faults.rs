//! Every kind of fault with every kind of answer: label and message registers as seL4 tells them, and what becomes of the child.

use nix::sys::signal::Signal;

use crate::common::Outcome;
use crate::{everywhere, pd, pd_from, program, run, start, system, words_of_region};

/// The child. Its name says how it faults; before it does, it writes down where it will. Started again, or resumed behind the
/// fault, it says so.
const CHILD: &str = r#"
struct facts { uint64_t ip, recover, sp, data, runs, result; };
volatile struct facts *facts;
char *readable;

static int data[4] __attribute__((aligned(16)));
static const uint64_t zero;

/* Registers that must come through a fault as they are. */
#define PATTERN "movq $0xb0b, %%rbx\n movq $12, %%r12\n movq $13, %%r13\n movq $14, %%r14\n movq $15, %%r15\n"
#define FAULT(instruction, value) do { \
    uint64_t sum; \
    __asm__ volatile( \
        "subq $256, %%rsp\n" \
        PATTERN \
        "leaq 1f(%%rip), %%rax\n movq %%rax, 0(%%rdi)\n" \
        "leaq 2f(%%rip), %%rax\n movq %%rax, 8(%%rdi)\n" \
        "movq %%rsp, 16(%%rdi)\n" \
        "movl $7, %%eax\n xorl %%edx, %%edx\n" \
        "1: " instruction "\n" \
        "2: movq 16(%%rdi), %%rsp\n addq $256, %%rsp\n" \
        "movq %%rax, 40(%%rdi)\n" \
        "leaq (%%rbx, %%r12), %%rax\n addq %%r13, %%rax\n addq %%r14, %%rax\n addq %%r15, %%rax\n" \
        : "=a"(sum) : "D"(facts), "S"(value) \
        : "rbx", "rcx", "rdx", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "xmm0", "memory", "cc"); \
    printf("behind it, registers %s\n", sum == 0xb0b + 12 + 13 + 14 + 15 ? "kept" : "lost"); \
} while (0)

static int is(const char *name) { return strcmp(microkit_name, name) == 0; }

void init(void) {
    if (facts->runs++ > 0) {
        puts("again");
        return;
    }
    facts->data = (uint64_t)data;
    puts("now");
    if (is("null")) FAULT("movl $1, (%%rsi)", 0UL);
    if (is("read_only")) FAULT("movl $1, (%%rsi)", readable + 16);
    if (is("jump")) FAULT("jmp *%%rsi", data);
    if (is("stack")) FAULT("pushq %%rax\n jmp 1b", 0UL);
    if (is("illegal")) FAULT("ud2", 0UL);
    if (is("division")) FAULT("divq (%%rsi)", &zero);
    if (is("breakpoint")) FAULT("int3", 0UL);
    if (is("unaligned")) FAULT("movaps %%xmm0, (%%rsi)", (char *)data + 8);
    if (is("syscall")) FAULT(
        "movl $3, %%edx\n movl $8, %%r8d\n movl $9, %%r9d\n movl $10, %%r10d\n movl $110, %%eax\n"
        "leaq 3f(%%rip), %%rcx\n movq %%rcx, 0(%%rdi)\n"
        "3: syscall", 4UL);
    if (is("syscall")) printf("the call answers %lu\n", facts->result);
}

void notified(microkit_channel ch) { (void)ch; puts("notified"); }
"#;

/// The parent: prints label and registers, each by the name of what it equals, and answers as the function `answer` says.
const PARENT: &str = r#"
struct facts { uint64_t ip, recover, sp, data, runs, result; };
volatile struct facts *facts;
#define CHILD 5
#define COUNT microkit_msginfo_get_count(message)
#define LABEL microkit_msginfo_get_label(message)

static void show(uint64_t word) {
    if (word == facts->ip) printf(" ip");
    else if (word == facts->ip + 2) printf(" ip+2");
    else if (word == facts->ip + 1) printf(" ip+1");
    else if (word == facts->sp) printf(" sp");
    else if (word == facts->data) printf(" data");
    else if (word == (uint64_t)facts) printf(" facts");
    /* Always on, interrupts on, nothing above the status flags but them. */
    else if ((word & ~0xcd5UL) == 0x202 || (word & ~0xcd5UL) == 0x10202) printf(" flags");
    else if (word % 4096 == 0xff8 && facts->sp - word > 0x1800 && facts->sp - word <= 0x2000) printf(" stack-end");
    else printf(" %#lx", word);
}

void init(void) {}

static seL4_Bool answer(microkit_msginfo message, microkit_msginfo *reply);

seL4_Bool fault(microkit_child child, microkit_msginfo message, microkit_msginfo *reply) {
    printf("child %u label %lu:", child, LABEL);
    for (seL4_Uint8 i = 0; i < COUNT; i++) {
        /* rbp is the compiler's. */
        if (LABEL == seL4_Fault_UnknownSyscall && i == seL4_UnknownSyscall_RBP) printf(" rbp"); else show(microkit_mr_get(i));
    }
    puts("");
    return answer(message, reply);
}

void notified(microkit_channel ch) { (void)ch; }
"#;

/// How the parent answers.
const RESUME: &str = r#"
seL4_Bool answer(microkit_msginfo message, microkit_msginfo *reply) {
    switch (LABEL) {
    case seL4_Fault_VMFault: {
        /* A reply to a memory fault sets no registers; a parent has its child's thread for that. */
        seL4_UserContext context = {0};
        seL4_TCB tcb = BASE_TCB_CAP + CHILD;
        int error = seL4_TCB_ReadRegisters(tcb, seL4_False, 0, 20, &context);
        if (error == seL4_NoError && context.rip != microkit_mr_get(0)) error = -1;
        context.rip = facts->recover;
        context.rsp = facts->sp;
        if (error == seL4_NoError) error = seL4_TCB_WriteRegisters(tcb, seL4_False, 0, 20, &context);
        if (error != seL4_NoError) printf("error %d\n", error);
        *reply = microkit_msginfo_new(0, 0);
        break;
    }
    case seL4_Fault_UserException:
        microkit_mr_set(seL4_UserException_FaultIP, facts->recover);
        *reply = microkit_msginfo_new(0, 3);
        break;
    case seL4_Fault_UnknownSyscall:
        microkit_mr_set(seL4_UnknownSyscall_RAX, 4711);
        microkit_mr_set(seL4_UnknownSyscall_FaultIP, facts->recover);
        *reply = microkit_msginfo_new(0, 18);
        break;
    default:
        /* Behind a breakpoint it goes on by itself. */
        *reply = microkit_msginfo_new(0, 0);
    }
    return seL4_True;
}
"#;

const RESTART: &str = r#"
seL4_Bool answer(microkit_msginfo message, microkit_msginfo *reply) {
    (void)message; (void)reply;
    microkit_pd_restart(CHILD, 0);
    return seL4_False;
}
"#;

const STOP: &str = r#"
seL4_Bool answer(microkit_msginfo message, microkit_msginfo *reply) {
    (void)message; (void)reply;
    microkit_pd_stop(CHILD);
    return seL4_False;
}
"#;

const FAULT: &str = r#"
seL4_Bool answer(microkit_msginfo message, microkit_msginfo *reply) {
    (void)message; (void)reply;
    __builtin_trap();
}
"#;

/// A way to fault.
struct Kind {
    name: &'static str,
    /// Label and registers, as the parent prints them.
    message: &'static str,
    /// What is reported where there is no parent.
    report: &'static str,
    /// What the report says of the instruction: it stands on it, behind it, or somewhere in data.
    at: At,
}

#[derive(Clone, Copy, PartialEq)]
enum At {
    Instruction,
    /// So many bytes behind its beginning.
    Behind(u64),
    Data,
}

const KINDS: [Kind; 9] = [
    Kind {
        name: "null",
        message: "6: ip 0 0 0x6",
        report: "write to 0x0: a null pointer",
        at: At::Instruction,
    },
    Kind {
        name: "read_only",
        message: "6: ip 0x6000010 0 0x7",
        report: "write to 0x6000010: region `readable` is mapped r here (+0x10)",
        at: At::Instruction,
    },
    Kind { name: "jump", message: "6: data data 0x1 0x15", report: "execution of 0x", at: At::Data },
    Kind {
        name: "stack",
        message: "6: ip stack-end 0 0x6",
        report: "stack overflow: the stack has 0x2000 bytes (stack_size)",
        at: At::Instruction,
    },
    Kind {
        name: "illegal",
        message: "3: ip sp flags 0x6 0",
        report: "SIGILL: an illegal instruction",
        at: At::Instruction,
    },
    Kind {
        name: "division",
        message: "3: ip sp flags 0 0",
        report: "SIGFPE: an arithmetic exception",
        at: At::Instruction,
    },
    Kind { name: "breakpoint", message: "4: ip+1 0x3 0 0", report: "breakpoint", at: At::Behind(1) },
    Kind {
        name: "unaligned",
        message: "3: ip sp flags 0xd 0",
        report: "SIGSEGV: a general protection fault",
        at: At::Instruction,
    },
    Kind {
        name: "syscall",
        message: "2: 0x6e 0xb0b ip+2 0x3 0x4 facts rbp 0x8 0x9 0xa flags 0xc 0xd 0xe 0xf ip sp flags 0x6e",
        report: "denied system call getppid(",
        at: At::Behind(2),
    },
];

const REGIONS: &str =
    "<memory_region name=\"facts\" size=\"0x1000\"/><memory_region name=\"readable\" size=\"0x1000\"/>";

fn child(name: &str, attributes: &str) -> String {
    let maps = "<map mr=\"facts\" vaddr=\"0x5000000\" setvar_vaddr=\"facts\"/>\
                <map mr=\"readable\" vaddr=\"0x6000000\" perms=\"r\" setvar_vaddr=\"readable\"/>";
    pd_from(name, "child", &format!("priority=\"1\" {attributes}"), maps)
}

/// Runs every kind of fault under a parent that answers like this.
fn each_kind(answer: &str, check: impl Fn(&Kind, &Outcome)) {
    everywhere(|world, schedule| {
        program(world, "child", CHILD);
        program(world, "parent", &format!("{PARENT}{answer}"));
        for kind in &KINDS {
            let maps = "<map mr=\"facts\" vaddr=\"0x5000000\" setvar_vaddr=\"facts\"/>";
            let inside = format!("{maps}{}", child(kind.name, "id=\"5\""));
            system(world, &format!("{REGIONS}{}", pd("parent", "priority=\"2\"", &inside)));
            let outcome = run(world, schedule);
            eprintln!("{}: {outcome}", kind.name);
            assert_eq!(
                outcome.lines_of("parent").first(),
                Some(&format!("child 5 label {}", kind.message).as_str())
            );
            check(kind, &outcome);
        }
    });
}

#[test]
fn a_parent_resumes_its_child() {
    each_kind(RESUME, |kind, outcome| {
        let mut lines = vec!["now", "behind it, registers kept"];
        if kind.name == "syscall" {
            lines.push("the call answers 4711");
        }
        outcome.expect(0).printed(kind.name, &lines);
        assert_eq!(outcome.lines_of("parent").len(), 1);
        assert_eq!(outcome.stderr, "");
    });
}

#[test]
fn a_parent_restarts_its_child() {
    each_kind(RESTART, |kind, outcome| {
        outcome.expect(0).printed(kind.name, &["now", "again"]);
        assert_eq!(outcome.lines_of("parent").len(), 1);
        assert_eq!(outcome.stderr, "");
    });
}

#[test]
fn a_parent_stops_its_child() {
    each_kind(STOP, |kind, outcome| {
        outcome.expect(0).printed(kind.name, &["now"]);
        assert_eq!(outcome.lines_of("parent").len(), 1);
        assert_eq!(outcome.stderr, "");
    });
}

#[test]
fn a_parent_that_faults_itself_is_what_is_reported() {
    each_kind(FAULT, |kind, outcome| {
        outcome
            .expect(1)
            .printed(kind.name, &["now"])
            .says("fault: PD `parent`: SIGILL")
            .says("at fault+")
            .says("nobody handles it: it stays stopped, the others go on");
        assert_eq!(outcome.stderr.matches("fault: PD").count(), 1);
    });
}

/// The number behind a word.
fn hexadecimal(text: &str, before: &str) -> u64 {
    let rest = text.split(before).nth(1).unwrap_or_else(|| panic!("`{before}` in {text}"));
    let digits = rest.trim_start_matches("0x");
    let end = digits.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(digits.len());
    u64::from_str_radix(&digits[..end], 16).unwrap()
}

#[test]
fn without_a_parent_the_monitor_reports() {
    everywhere(|world, schedule| {
        program(world, "child", CHILD);
        for kind in &KINDS {
            system(world, &format!("{REGIONS}{}", child(kind.name, "")));
            let mut running = start(world, schedule, &[]);
            running.wait_for_stderr("nobody handles it: it stays stopped, the others go on");
            let [ip, _, sp, data] = words_of_region(&running, "facts");
            running.signal(Signal::SIGTERM);
            let outcome = running.wait();
            eprintln!("{}: {outcome}", kind.name);
            outcome.expect(1).printed(kind.name, &["now"]).says(&format!("fault: PD `{}`: ", kind.name));
            outcome.says(kind.report);
            let place = match kind.at {
                At::Instruction => ip,
                At::Behind(bytes) => ip + bytes,
                At::Data => data,
            };
            assert_eq!(hexadecimal(&outcome.stderr, "  ip "), place);
            if kind.name != "stack" {
                assert_eq!(hexadecimal(&outcome.stderr, ", sp "), sp);
            }
            if kind.at != At::Data {
                outcome.says("in child.elf");
            }
        }
    });
}
