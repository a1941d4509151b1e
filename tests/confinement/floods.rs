//! PDs that send without end, beside others that do their work: the flood costs time, nothing else.

#![forbid(unsafe_code)]

use nix::sys::signal::Signal;

use crate::cases::Cases;
use crate::common::{User, World};

/// Calls of the honest client.
const CALLS: u32 = 1000;

/// What each attacker does, for ever. Its doorbells are a peer's at 4, and its console at 1; channel 0 leads to the server.
const FLOODS: [(&str, &str); 4] = [
    ("a peer's doorbell", "write_to(4)"),
    ("the console", "write_to(1)"),
    ("notifications", "microkit_notify(0)"),
    ("messages on the console", "microkit_notify(33)"),
];

const SERVER: &str = r#"
#include <microkit.h>

void init(void) { }
void notified(microkit_channel ch) { (void)ch; }

microkit_msginfo protected(microkit_channel ch, microkit_msginfo message)
{
    if (ch != 1 || microkit_msginfo_get_count(message) != 2) {
        microkit_dbg_puts("a call that nobody made\n");
    }
    seL4_Word sum = microkit_mr_get(0) + microkit_mr_get(1);
    microkit_mr_set(0, sum);
    return microkit_msginfo_new(microkit_msginfo_get_label(message), 1);
}
"#;

const CLIENT: &str = r#"
#include <microkit.h>

void init(void)
{
    for (seL4_Word i = 0; i < CALLS; i++) {
        microkit_mr_set(0, i);
        microkit_mr_set(1, 7);
        microkit_msginfo reply = microkit_ppcall(0, microkit_msginfo_new(i, 2));
        if (microkit_msginfo_get_label(reply) != i || microkit_mr_get(0) != i + 7) {
            microkit_dbg_puts("a wrong answer\n");
        }
    }
    microkit_dbg_puts("all answered\n");
}

void notified(microkit_channel ch) { (void)ch; }
"#;

const SYSTEM: &str = r#"<system>
  <protection_domain name="server" priority="5"><program_image path="server.elf"/></protection_domain>
  <protection_domain name="client" priority="3"><program_image path="client.elf"/></protection_domain>
  <protection_domain name="attacker" priority="4"><program_image path="attacker.elf"/></protection_domain>
  <protection_domain name="accomplice" priority="4"><program_image path="attacker.elf"/></protection_domain>
  <channel><end pd="client" id="0" pp="true"/><end pd="server" id="1"/></channel>
  <channel><end pd="attacker" id="0"/><end pd="server" id="2"/></channel>
  <channel><end pd="accomplice" id="0"/><end pd="server" id="3"/></channel>
</system>"#;

/// Adds the cases.
pub fn cases(cases: &mut Cases, user: User) {
    for (what, code) in FLOODS {
        let name = format!("{}: attack by flooding {what}", format!("{user:?}").to_lowercase());
        cases.case(&name, || flood(user, code));
    }
}

fn flood(user: User, code: &str) -> String {
    let attacker = format!(
        r#"
#include <microkit.h>

static inline long write_to(long fd)
{{
    static char text[] = "0123456789abcdef0123456789abcdef0123456789abcdef\n";
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(1), "D"(fd), "S"(text), "d"(sizeof(text) - 1) : "rcx", "r11", "memory");
    return result;
}}

__attribute__((constructor)) static void flood(void) {{ for (;;) {{ {code}; }} }}
void init(void) {{ (void)write_to; }}
void notified(microkit_channel ch) {{ (void)ch; }}
"#
    );
    let world = World::new(user);
    world.program("server", SERVER);
    world.program_with("client", CLIENT, &[&format!("-DCALLS={CALLS}")]);
    world.program("attacker", &attacker);
    world.system("flood.system", SYSTEM);
    let mut running = world.start(&["run", "flood.system"]);
    running.wait_for_stdout("client | all answered\n");
    running.signal(Signal::SIGTERM);
    let outcome = running.wait();
    // The attackers' own lines are of no interest, and many.
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert_eq!(outcome.lines_of("client"), ["all answered"]);
    assert_eq!(outcome.lines_of("server"), [""; 0]);
    format!("{CALLS} calls beside it are answered rightly, and the run ends when asked")
}
