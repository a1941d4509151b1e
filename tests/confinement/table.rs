//! The ablation table: every probe with each layer left out, and what stopped it then. It stands in SECURITY.md between two marks; a run of
//! this program with `MK_ABLATION_TABLE=write` writes it, and every other run fails when it says something else than what was seen.

#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use nix::errno::Errno;

use crate::attacks::{self, AT_THE_HOSTS_DISCRETION, Surroundings, TOGETHER};
use crate::cases::Cases;
use crate::common::{Outcome, User};
use crate::own::{self, Layer};

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/SECURITY.md");
const BEGIN: &str = "<!-- ablation: begin -->\n";
const END: &str = "<!-- ablation: end -->";
/// With the value `write`, this run writes the table.
const VARIABLE: &str = "MK_ABLATION_TABLE";

/// The table's columns: what is left out.
const COLUMNS: [Option<Layer>; 6] = [
    None,
    Some(Layer::Seccomp),
    Some(Layer::Landlock),
    Some(Layer::Namespaces),
    Some(Layer::Sealing),
    Some(Layer::Capabilities),
];

/// How these three end is how a PD tells the launcher that it is ready, so no launcher leaves that part of the filter out.
const NEVER_LET_THROUGH: [&str; 3] = ["exit_group", "exit_group_asking", "exit_group_ready"];

/// What would be felt outside of the PD: another process, another PD's memory, files, the host's network and settings.
const REACHES_OUT: [&str; 47] = [
    "bind_tcp",
    "bpf",
    "chroot",
    "clone",
    "clone3",
    "connect_abstract",
    "connect_tcp",
    "create_file",
    "execve",
    "execveat",
    "fork",
    "fsopen",
    "hostname",
    "init_module",
    "int80_openat",
    "ioctl_terminal",
    "ioctl_terminal_high_bits",
    "ioperm",
    "iopl",
    "kexec_load",
    "kill_guessed",
    "load_foreign",
    "mkdir",
    "mknod",
    "mknod_device",
    "mount",
    "open_by_handle_at",
    "open_file",
    "open_kernel_log",
    "open_kernel_objects",
    "open_own_descriptor",
    "open_process",
    "perf_event_open",
    "pidfd_getfd",
    "ptrace_guessed",
    "read_peer_doorbell",
    "reboot",
    "sendmsg_descriptor",
    "sethostname",
    "setns",
    "store_code_region",
    "store_peer_status",
    "store_peer_words",
    "store_read_only",
    "syslog",
    "vfork",
    "write_from_foreign",
];

/// What came of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Done,
    Refused(i32),
    /// By a filter.
    Denied,
    /// A fault of memory.
    Fault,
}

/// What a probe came to, by what was left out.
type Answers = BTreeMap<Vec<Layer>, Answer>;

/// A row's cells, in the order of [`COLUMNS`].
type Cells = Vec<String>;

/// Adds the case.
pub fn cases(cases: &mut Cases, users: &[User]) {
    cases.case("attack: the ablation table of SECURITY.md", || {
        let seen: Vec<BTreeMap<String, Cells>> = users.iter().map(|user| rows(*user)).collect();
        let document = fs::read_to_string(DOCUMENT).unwrap();
        let (before, rest) = document.split_once(BEGIN).expect("the table's first mark");
        let (recorded, after) = rest.split_once(END).expect("the table's last mark");
        if std::env::var_os(VARIABLE).is_some_and(|value| value == "write") {
            assert_eq!(users, [User::Root, User::Unprivileged], "the table is written by root's run");
            fs::write(DOCUMENT, format!("{before}{BEGIN}{}{END}{after}", text(&merged(&seen)))).unwrap();
            return "written".into();
        }
        compare(recorded, users, &seen)
    });
}

/// Every probe's cells, as one user.
fn rows(user: User) -> BTreeMap<String, Cells> {
    let others = Layer::ALL.into_iter().filter(|layer| *layer != Layer::Seccomp);
    let one = COLUMNS.iter().map(|layer| Vec::from_iter(*layer));
    let two = others.map(|layer| vec![Layer::Seccomp, layer]);
    let surroundings = Surroundings::new(user);
    let mut answers: BTreeMap<&str, Answers> = BTreeMap::new();
    for without in one.chain(two) {
        for some in attacks::probes().chunks(TOGETHER) {
            let names: Vec<String> = some.iter().map(|probe| format!("h_{probe}")).collect();
            surroundings.world().system("ablated.system", &attacks::system(&names));
            let outcome = own::run(surroundings.world(), &own::without(&without), "ablated.system");
            outcome.expect(0);
            for (probe, name) in some.iter().zip(&names) {
                answers.entry(probe).or_default().insert(without.clone(), answer(&outcome, name));
            }
        }
    }
    let table = answers.into_iter().filter(|(probe, _)| !NEVER_LET_THROUGH.contains(probe));
    table
        .map(|(probe, answers)| {
            (probe.to_owned(), COLUMNS.iter().map(|layer| cell(&answers, *layer)).collect())
        })
        .collect()
}

/// What a PD says comes first: a fault after it is of what the probe has left it in.
fn answer(outcome: &Outcome, pd: &str) -> Answer {
    match outcome.lines_of(pd).first() {
        Some(&"DONE") => return Answer::Done,
        Some(line) => {
            let errno = line.strip_prefix("refused ").and_then(|errno| errno.parse().ok());
            return Answer::Refused(errno.unwrap_or_else(|| panic!("`{pd}` printed `{line}`")));
        }
        None => {}
    }
    let report = attacks::what_became_of(outcome, pd);
    if report.starts_with("denied system call ") || report.starts_with("ended by SIGSYS") {
        Answer::Denied
    } else if report.contains("exited") {
        // A probe that ends its process has been let do it.
        Answer::Done
    } else {
        Answer::Fault
    }
}

fn cell(answers: &Answers, left_out: Option<Layer>) -> String {
    let without = Vec::from_iter(left_out);
    match answers[&without] {
        Answer::Done => "**done**".into(),
        Answer::Denied => "seccomp".into(),
        Answer::Fault => "mapping".into(),
        Answer::Refused(errno) => {
            format!("{} ({:?})", by_whom(answers, left_out, errno), Errno::from_raw(errno))
        }
    }
}

/// The layers whose absence changes the answer. Where none does, two layers stand in the way, or the kernel does so to every process.
fn by_whom(answers: &Answers, left_out: Option<Layer>, errno: i32) -> String {
    let refused = Answer::Refused(errno);
    if left_out != Some(Layer::Seccomp) && answers[&vec![Layer::Seccomp]] != refused {
        return Layer::Seccomp.name().into();
    }
    let changes = |layer: &Layer| {
        let both = [Layer::Seccomp, *layer];
        answers.get(&both[..]).is_some_and(|answer| *answer != answers[&vec![Layer::Seccomp]])
    };
    let layers: Vec<&str> = Layer::ALL.into_iter().filter(changes).map(Layer::name).collect();
    match Errno::from_raw(errno) {
        _ if !layers.is_empty() => layers.join(", "),
        Errno::EBADF => "no descriptor".into(),
        Errno::EFAULT => "mapping".into(),
        _ => "several or the kernel".into(),
    }
}

/// Both users' answers in one: where they differ, root's first.
fn merged(seen: &[BTreeMap<String, Cells>]) -> BTreeMap<String, Cells> {
    let mut all = seen[0].clone();
    for other in &seen[1..] {
        for (probe, cells) in &mut all {
            for (cell, other) in cells.iter_mut().zip(&other[probe]).filter(|(cell, other)| cell != other) {
                *cell = format!("{cell} as root, {other} else");
            }
        }
    }
    all
}

/// A cell as one user sees it.
fn for_user(cell: &str, user: User) -> &str {
    match cell.split_once(" as root, ") {
        Some((root, _)) if user == User::Root => root,
        Some((_, other)) => other.strip_suffix(" else").unwrap_or(other),
        None => cell,
    }
}

/// `6.18` of `6.18.44-something`.
fn kernel() -> String {
    let release = nix::sys::utsname::uname().unwrap().release().to_string_lossy().into_owned();
    release.split('.').take(2).collect::<Vec<_>>().join(".")
}

fn text(rows: &BTreeMap<String, Cells>) -> String {
    let heads = COLUMNS.map(|layer| match layer {
        None => "all layers".to_owned(),
        Some(layer) => format!("without {}", layer.name()),
    });
    let mut groups: BTreeMap<&Cells, Vec<&str>> = BTreeMap::new();
    for (probe, cells) in rows {
        groups.entry(cells).or_default().push(probe);
    }
    // By what stops a probe when the filters do not, the largest group first.
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by_key(|(cells, probes)| (std::cmp::Reverse(probes.len()), (*cells).clone()));
    let mut text = format!("Linux {}, {} probes.\n\n{}\n", kernel(), rows.len(), summary(rows));
    text += &format!("| {} | probes |\n|{}\n", heads.join(" | "), "---|".repeat(heads.len() + 1));
    for (cells, probes) in groups {
        text += &format!("| {} | {}: `{}` |\n", cells.join(" | "), probes.len(), probes.join("` `"));
    }
    text
}

/// Layer by layer: what gets through without it alone, and what it stops when there are no filters.
fn summary(rows: &BTreeMap<String, Cells>) -> String {
    let mut text = String::new();
    let count =
        |column: usize, is: &dyn Fn(&str) -> bool| rows.values().filter(|cells| is(&cells[column])).count();
    for (column, layer) in COLUMNS.iter().enumerate().filter_map(|(column, layer)| Some((column, (*layer)?)))
    {
        let through = count(column, &|cell| cell.contains("**done**"));
        let alone = match through {
            0 => "alone it stops nothing: no probe gets through for want of it".to_owned(),
            some => format!("it alone stops {some}"),
        };
        let second = count(1, &|cell| cell.contains(layer.name()));
        text += &match layer {
            Layer::Seccomp => format!("- {}: {alone}.\n", layer.name()),
            _ => format!("- {}: {alone}; without seccomp it stops {second}.\n", layer.name()),
        };
    }
    for layer in [Layer::Mdwe, Layer::Limits] {
        let second = count(1, &|cell| cell.contains(layer.name()));
        text += &format!("- {}, not a column: without seccomp, stops {second}.\n", layer.name());
    }
    text
}

/// The recorded table by probe.
fn parse(table: &str) -> BTreeMap<String, Cells> {
    let mut rows = BTreeMap::new();
    for line in table.lines().filter(|line| line.starts_with("| ") && line.contains(": `")) {
        let mut cells: Vec<String> = line.trim_matches(['|', ' ']).split(" | ").map(str::to_owned).collect();
        let probes = cells.pop().unwrap();
        for probe in probes.split('`').skip(1).step_by(2) {
            assert!(rows.insert(probe.to_owned(), cells.clone()).is_none(), "`{probe}` twice");
        }
    }
    rows
}

const STALE: &str = "the table in SECURITY.md is stale; if what was seen is right, root writes it with \
    `MK_ABLATION_TABLE=write cargo test --test confinement -- table`";

/// On the kernel that the table names, all of it; on another, without what that kernel may not have, or may allow to others.
fn compare(recorded: &str, users: &[User], seen: &[BTreeMap<String, Cells>]) -> String {
    let table = parse(recorded);
    let names = |rows: &BTreeMap<String, Cells>| rows.keys().cloned().collect::<BTreeSet<_>>();
    let same_kernel = recorded.starts_with(&format!("Linux {}, ", kernel()));
    let mut differences = Vec::new();
    for rows in seen {
        for probe in REACHES_OUT {
            assert!(rows[probe].iter().all(|cell| !cell.contains("done")), "{probe}: {:?}", rows[probe]);
        }
    }
    for (user, rows) in users.iter().zip(seen) {
        assert_eq!(names(&table), names(rows), "{STALE}");
        for (probe, cells) in rows {
            let is_skipped = |column: &usize| {
                !same_kernel && *column == 1 && AT_THE_HOSTS_DISCRETION.contains(&probe.as_str())
            };
            for column in (0..COLUMNS.len()).filter(|column| !is_skipped(column)) {
                let recorded = for_user(&table[probe][column], *user);
                if recorded != cells[column] {
                    let without = COLUMNS[column].map_or("all layers on", Layer::name);
                    differences.push(format!(
                        "{user:?}, {probe}, {without}: recorded {recorded}, seen {}",
                        cells[column]
                    ));
                }
            }
        }
    }
    assert!(differences.is_empty(), "{STALE}\n{}", differences.join("\n"));
    if same_kernel && users.len() == 2 {
        assert_eq!(recorded, text(&merged(seen)), "{STALE}");
    }
    let skipped = if same_kernel { 0 } else { AT_THE_HOSTS_DISCRETION.len() };
    format!(
        "{} probes × {} columns as recorded, {skipped} of another kernel not compared",
        table.len(),
        COLUMNS.len()
    )
}
