//! Two correct PDs use each other and a third one that writes anything at all into everything it can write: its channel pages, a region
//! that all three share, doorbells, the console. The two stay correct to the last message, each of which is checked by who receives it.

mod common;

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;
use std::time::{Duration, Instant};

use common::{World, for_each_user, users};
use mk_sandbox::commands::embedded::LIBMICROKIT;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use object::{Object, ObjectSymbol};

const FILES: [(&str, &str); 5] = [
    ("messages.h", include_str!("hostile_peers/messages.h")),
    ("internal.h", include_str!("../libmicrokit/internal.h")),
    ("abi.h", include_str!("../libmicrokit/abi.h")),
    ("wait.h", include_str!("../libmicrokit/wait.h")),
    ("message.h", include_str!("../libmicrokit/message.h")),
];

const SYSTEM: &str = r#"<system>
  <memory_region name="ring" size="0x2000"/>
  <memory_region name="shared" size="0x1000"/>
  <protection_domain name="server" priority="200">
    <program_image path="server.elf"/>
    <map mr="ring" vaddr="0x4000000" perms="rw"/>
    <map mr="shared" vaddr="0x5000000" perms="rw"/>
  </protection_domain>
  <protection_domain name="hostile" priority="150">
    <program_image path="hostile.elf"/>
    <map mr="shared" vaddr="0x5000000" perms="rw"/>
  </protection_domain>
  <protection_domain name="client" priority="100">
    <program_image path="client.elf"/>
    <map mr="ring" vaddr="0x4000000" perms="rw"/>
    <map mr="shared" vaddr="0x5000000" perms="rw"/>
  </protection_domain>
  <channel><end pd="client" id="1" pp="true"/><end pd="server" id="1"/></channel>
  <channel><end pd="client" id="2"/><end pd="hostile" id="1"/></channel>
  <channel><end pd="client" id="3" pp="true"/><end pd="hostile" id="2"/></channel>
  <channel><end pd="client" id="4"/><end pd="hostile" id="3" notify="false"/></channel>
  <channel><end pd="server" id="2"/><end pd="hostile" id="4" pp="true"/></channel>
  <channel><end pd="server" id="5"/><end pd="hostile" id="5" notify="false"/></channel>
  <channel><end pd="server" id="6"/><end pd="hostile" id="6" notify="false" pp="true"/></channel>
</system>"#;

/// Bytes from `microkit_name`, which images may use, to a variable that libmicrokit hides.
fn from_name(variable: &str) -> i64 {
    let library = object::File::parse(LIBMICROKIT).unwrap();
    let address = |name: &str| {
        let symbol = library.symbols().find(|symbol| symbol.name() == Ok(name));
        symbol.unwrap_or_else(|| panic!("libmicrokit.so has no symbol `{name}`")).address().cast_signed()
    };
    address(variable) - address("microkit_name")
}

fn prepare(world: &World, messages: u64) {
    for (name, text) in FILES {
        world.write(name, text);
    }
    let messages = format!("-DMESSAGES={messages}ul");
    let flags = ["-O2", "-Wall", "-Wextra", "-Werror", messages.as_str()];
    world.program_with("client", include_str!("hostile_peers/client.c"), &flags);
    world.program_with("server", include_str!("hostile_peers/server.c"), &flags);
    let [ends, status] = ["mk_ends", "mk_status"].map(from_name);
    let places = [format!("-DENDS_FROM_NAME={ends}"), format!("-DSTATUS_FROM_NAME={status}")];
    let flags = ["-O2", "-Wall", "-Wextra", "-Werror", places[0].as_str(), places[1].as_str()];
    world.program_with("hostile", include_str!("hostile_peers/hostile.c"), &flags);
    world.system("hostile.system", SYSTEM);
}

/// Runs the system until both have seen the last message. `limit` bounds it: the launcher then ends it with another exit code.
fn stay_correct(world: &World, messages: u64, limit: Duration) {
    prepare(world, messages);
    let mut command = world.command();
    command.args(["run", "--timeout", &limit.as_secs().to_string(), "hostile.system"]);
    let begun = Instant::now();
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let launcher = Pid::from_raw(child.id().cast_signed());
    let (mut left, mut wrong, mut from_hostile) =
        (vec!["client | all sent", "server | all seen"], Vec::new(), 0);
    for line in BufReader::new(child.stdout.take().unwrap()).split(b'\n') {
        let line = String::from_utf8_lossy(&line.unwrap()).into_owned();
        match line.starts_with("hostile | ") {
            true => from_hostile += 1,
            false if left.contains(&line.as_str()) => {
                left.retain(|wanted| *wanted != line);
                if left.is_empty() {
                    kill(launcher, Signal::SIGTERM).unwrap();
                }
            }
            false => wrong.push(line),
        }
    }
    let mut told = String::new();
    child.stderr.take().unwrap().read_to_string(&mut told).unwrap();
    let status = child.wait().unwrap();
    assert!(wrong.is_empty(), "{:?}", &wrong[..wrong.len().min(20)]);
    assert!(left.is_empty(), "still waiting for {left:?} after {limit:?}: {told}");
    assert_eq!((status.code(), told.as_str()), (Some(0), ""));
    // Else it has hurt nobody because it did nothing: the client has been answered by it a hundred times, too.
    assert!(from_hostile > 0, "the hostile one has printed nothing");
    println!("{messages} messages between the correct PDs in {:?}", begun.elapsed());
}

#[test]
fn two_correct_pds_stay_correct_beside_a_hostile_one() {
    for_each_user(|world| stay_correct(world, 100_000, Duration::from_secs(60)));
}

/// The same at length, as the user with the least privilege.
#[test]
#[ignore = "takes a minute or more"]
fn two_correct_pds_stay_correct_for_ten_million_messages() {
    let user = users().pop().unwrap();
    stay_correct(&World::new(user), 10_000_000, Duration::from_secs(1200));
}
