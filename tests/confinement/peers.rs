//! PDs that end in the midst of a call, as caller and as called: the others' calls go on and stay right.

#![forbid(unsafe_code)]

use nix::sys::signal::{Signal, kill};

use crate::cases::Cases;
use crate::common::{User, World};

/// How many are killed, one after the other.
const VICTIMS: usize = 12;

const SERVER: &str = r#"
#include <microkit.h>

void init(void) { }
void notified(microkit_channel ch) { (void)ch; }

microkit_msginfo protected(microkit_channel ch, microkit_msginfo message)
{
    seL4_Word first = microkit_mr_get(0);
    for (seL4_Word i = 1; i < microkit_msginfo_get_count(message); i++) {
        if (microkit_mr_get(i) != first + i) {
            microkit_dbg_puts("a wrong call\n");
        }
        microkit_mr_set(i, first - i);
    }
    (void)ch;
    return message;
}
"#;

/// Calls for ever; the honest one says when it has had its first answers, and ends some time after the last of the others.
const CLIENT: &str = r#"
#include <microkit.h>

static seL4_Word calls;

static void call(void)
{
    seL4_Word first = 1000 + calls++;
    for (seL4_Word i = 0; i < 120; i++) {
        microkit_mr_set(i, first + i);
    }
    microkit_msginfo reply = microkit_ppcall(0, microkit_msginfo_new(first & 0xffff, 120));
    if (microkit_msginfo_get_label(reply) != (first & 0xffff) || microkit_msginfo_get_count(reply) != 120) {
        microkit_dbg_puts("a wrong answer\n");
    }
    for (seL4_Word i = 1; i < 120; i++) {
        if (microkit_mr_get(i) != first - i) {
            microkit_dbg_puts("a wrong word\n");
        }
    }
}

void init(void)
{
    for (;;) {
        call();
        if (calls % 20000 == 0 && microkit_name[0] == 'h') {
            microkit_dbg_puts("goes on\n");
        }
        if (calls == 100 && microkit_name[0] != 'h') {
            microkit_dbg_puts("calls\n");
        }
    }
}

void notified(microkit_channel ch) { (void)ch; }
"#;

/// Never answers, so whoever calls it is in the midst of a call when it ends.
const DEAF: &str = r#"
#include <microkit.h>

void init(void) { }
void notified(microkit_channel ch) { (void)ch; }
microkit_msginfo protected(microkit_channel ch, microkit_msginfo message)
{
    (void)ch;
    microkit_dbg_puts("called\n");
    for (;;) {
    }
    return message;
}
"#;

/// Adds the cases.
pub fn cases(cases: &mut Cases, user: User) {
    let who = format!("{user:?}").to_lowercase();
    cases.case(&format!("{who}: attack by callers that end in the midst of a call"), || callers(user));
    cases.case(&format!("{who}: attack by a called PD that ends in the midst of a call"), || called(user));
}

fn callers(user: User) -> String {
    let world = World::new(user);
    world.program("server", SERVER);
    world.program("client", CLIENT);
    let client = |name: &str, id: usize| {
        format!(
            r#"<protection_domain name="{name}" priority="3"><program_image path="client.elf"/></protection_domain>
               <channel><end pd="{name}" id="0" pp="true"/><end pd="server" id="{id}"/></channel>"#
        )
    };
    let victims: Vec<String> = (0..VICTIMS).map(|number| format!("victim{number}")).collect();
    let mut text = r#"<protection_domain name="server" priority="5"><program_image path="server.elf"/></protection_domain>"#
        .to_owned();
    text += &client("honest", 60);
    victims.iter().enumerate().for_each(|(id, name)| text += &client(name, id));
    world.system("peers.system", &format!("<system>{text}</system>"));
    let mut running = world.start(&["run", "peers.system"]);
    for victim in &victims {
        running.wait_for_stdout(&format!("{victim} | calls\n"));
        kill(running.pds()[victim], Signal::SIGKILL).unwrap();
        running.wait_for_stderr(&format!("PD `{victim}`"));
    }
    // The first of them may have been on its way before.
    running.wait_for_lines(2);
    running.signal(Signal::SIGTERM);
    let outcome = running.wait();
    assert_eq!(outcome.lines_of("server"), [""; 0], "{outcome}");
    assert!(outcome.lines_of("honest").iter().all(|line| *line == "goes on"), "{outcome}");
    format!("{VICTIMS} callers are killed, and another's calls are answered rightly")
}

fn called(user: User) -> String {
    let world = World::new(user);
    world.program("server", SERVER);
    world.program("client", CLIENT);
    world.program("deaf", DEAF);
    world.system(
        "peers.system",
        r#"<system>
             <protection_domain name="server" priority="5"><program_image path="server.elf"/></protection_domain>
             <protection_domain name="deaf" priority="4"><program_image path="deaf.elf"/></protection_domain>
             <protection_domain name="honest" priority="3"><program_image path="client.elf"/></protection_domain>
             <protection_domain name="waiting" priority="3"><program_image path="client.elf"/></protection_domain>
             <channel><end pd="honest" id="0" pp="true"/><end pd="server" id="1"/></channel>
             <channel><end pd="waiting" id="0" pp="true"/><end pd="deaf" id="1"/></channel>
           </system>"#,
    );
    let mut running = world.start(&["run", "peers.system"]);
    running.wait_for_stdout("deaf | called\n");
    kill(running.pds()["deaf"], Signal::SIGKILL).unwrap();
    running.wait_for_stderr("PD `deaf`");
    // The first of them may have been on its way before.
    running.wait_for_lines(2);
    running.signal(Signal::SIGTERM);
    let outcome = running.wait();
    assert_eq!(outcome.lines_of("waiting"), [""; 0], "it has no answer: {outcome}");
    assert_eq!(outcome.lines_of("server"), [""; 0], "{outcome}");
    assert!(outcome.lines_of("honest").iter().all(|line| *line == "goes on"), "{outcome}");
    "its caller has no answer, and another's calls are answered rightly".into()
}
