//! Why no PD may make a system call and what there is instead, from `policy/denials.txt`; and how the call's arguments are written.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::data::{Answer, Policy};
use super::syscalls::syscall_name;

const TABLE: &str = include_str!("../../policy/denials.txt");

/// The file whose rules a running PD lives under, as reports name it.
pub const RULES: &str = "policy/running.json";

/// What is said of a system call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// What kind of call it is: `files`, `network`, …
    pub class: &'static str,
    /// Why there is no rule that allows it.
    pub why: &'static str,
    /// What there is instead.
    pub instead: &'static str,
    /// Its arguments, at most six.
    pub arguments: Vec<Argument>,
}

/// An argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Argument {
    /// As the manual page names it.
    pub name: &'static str,
    /// How it is written.
    pub form: Form,
}

/// How an argument is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// In hexadecimal: addresses, and what has no better form.
    Hex,
    /// An `int`.
    Int,
    /// A `long`.
    Long,
    /// A size.
    Unsigned,
    /// Permissions.
    Octal,
    /// The text it points to.
    Text,
    /// The kernel's constants.
    Words(&'static Set),
}

/// Constants of one kind of argument: one value of a part of the bits, and flags beside it.
#[derive(Debug, PartialEq, Eq)]
pub struct Set {
    /// The bits of which exactly one of `values` stands.
    field: u32,
    values: &'static [(u32, &'static str)],
    flags: &'static [(u32, &'static str)],
}

static DENIALS: LazyLock<BTreeMap<&'static str, Denial>> = LazyLock::new(|| parse().unwrap_or_default());

/// What is said of the call with this number, as the kernel got it in the register.
pub fn denial(nr: i64) -> Option<&'static Denial> {
    DENIALS.get(syscall_name(u64::try_from(nr).ok()?)?)
}

/// The rule that would have to exist for this call to be made, and what there is of it.
pub fn missing_rule(nr: i64, arguments: &[u64; 6]) -> String {
    let Some(name) = u64::try_from(nr).ok().and_then(syscall_name) else {
        return "no rule can name it".into();
    };
    static RUNNING: LazyLock<Option<Policy>> = LazyLock::new(|| Policy::running().ok());
    let rules = RUNNING.iter().flat_map(|policy| &policy.rules).filter(|rule| rule.syscall == name);
    // Answered calls are not made either: what differs says why this one was not even answered.
    let near = rules.filter(|rule| !rule.args.is_empty()).find_map(|rule| {
        let unmet: Vec<String> =
            rule.args.iter().filter(|arg| !arg.holds(arguments)).map(|arg| arg.to_string()).collect();
        let verb = if rule.answer == Answer::Allow { "allows" } else { "answers" };
        (!unmet.is_empty()).then(|| format!("{RULES} {verb} {name} only where {}", unmet.join(" and ")))
    });
    near.unwrap_or_else(|| format!("it would take a rule for {name} in {RULES}, and there is none"))
}

impl Set {
    fn words(&self, value: u64) -> String {
        // Every argument here is an int or a flag word of which the kernel reads 32 bits.
        let value = value as u32;
        let mut rest = value & !self.field;
        let mut words: Vec<String> = Vec::new();
        match self.values.iter().find(|(known, _)| *known == value & self.field) {
            Some((_, name)) => words.push((*name).to_owned()),
            None if self.field == u32::MAX => return (value as i32).to_string(),
            None if value & self.field != 0 => words.push(format!("{:#x}", value & self.field)),
            None => {}
        }
        for (bits, name) in self.flags {
            if rest & bits == *bits {
                words.push((*name).to_owned());
                rest &= !bits;
            }
        }
        if rest != 0 || words.is_empty() {
            words.push(format!("{rest:#x}"));
        }
        words.join("|")
    }
}

/// Bytes of a text that are shown.
pub const TEXT_MAX: usize = 64;

impl Form {
    /// An argument for people. `text` reads what it points to: at most [`TEXT_MAX`] bytes and one more, up to a NUL.
    pub fn show(self, value: u64, text: impl Fn(u64) -> Option<Vec<u8>>) -> String {
        match self {
            Self::Hex => format!("{value:#x}"),
            Self::Int => (value as i32).to_string(),
            Self::Long => (value as i64).to_string(),
            Self::Unsigned => value.to_string(),
            Self::Octal => format!("{:#o}", value as u32),
            Self::Words(set) => set.words(value),
            Self::Text => match text(value) {
                Some(bytes) => {
                    let shown = bytes.get(..TEXT_MAX).unwrap_or(&bytes);
                    let more = if bytes.len() > TEXT_MAX { "…" } else { "" };
                    format!("\"{}\"{more}", shown.escape_ascii())
                }
                None => format!("{value:#x}"),
            },
        }
    }

    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "d" => Self::Int,
            "l" => Self::Long,
            "u" => Self::Unsigned,
            "o" => Self::Octal,
            "s" => Self::Text,
            "AF" => Self::Words(&ADDRESS_FAMILIES),
            "AT" => Self::Words(&DIRECTORIES),
            "CLONE" => Self::Words(&CLONE_FLAGS),
            "MAP" => Self::Words(&MAP_FLAGS),
            "O" => Self::Words(&OPEN_FLAGS),
            "PROT" => Self::Words(&PROTECTIONS),
            "SOCK" => Self::Words(&SOCKET_TYPES),
            _ => return None,
        })
    }
}

/// The file, or the line that is none of its form.
fn parse() -> Result<BTreeMap<&'static str, Denial>, &'static str> {
    let mut found = BTreeMap::new();
    let (mut class, mut why, mut instead) = ("", "", "");
    for line in TABLE.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[') {
            (class, why, instead) = (name.strip_suffix(']').ok_or(line)?, "", "");
        } else if let Some(text) = line.strip_prefix("why: ") {
            why = text;
        } else if let Some(text) = line.strip_prefix("instead: ") {
            instead = text;
        } else {
            let mut words = line.split(' ');
            let name = words.next().ok_or(line)?;
            let argument = |word: &'static str| match word.split_once(':') {
                None => Some(Argument { name: word, form: Form::Hex }),
                Some((name, form)) => Some(Argument { name, form: Form::named(form)? }),
            };
            let arguments: Vec<Argument> = words.map(argument).collect::<Option<_>>().ok_or(line)?;
            let denial = Denial { class, why, instead, arguments };
            if denial.arguments.len() > 6 || why.is_empty() || instead.is_empty() {
                return Err(line);
            }
            if found.insert(name, denial).is_some() {
                return Err(line);
            }
        }
    }
    Ok(found)
}

macro_rules! constants {
    ($($name:ident),* $(,)?) => { &[$((libc::$name.cast_unsigned(), stringify!($name))),*] };
}

static ADDRESS_FAMILIES: Set = Set {
    field: u32::MAX,
    values: constants!(
        AF_UNSPEC,
        AF_UNIX,
        AF_INET,
        AF_INET6,
        AF_NETLINK,
        AF_PACKET,
        AF_ALG,
        AF_VSOCK,
        AF_BLUETOOTH,
        AF_XDP,
    ),
    flags: &[],
};
static DIRECTORIES: Set = Set { field: u32::MAX, values: constants!(AT_FDCWD), flags: &[] };
static SOCKET_TYPES: Set = Set {
    field: 0xf,
    values: constants!(SOCK_STREAM, SOCK_DGRAM, SOCK_RAW, SOCK_SEQPACKET),
    flags: constants!(SOCK_CLOEXEC, SOCK_NONBLOCK),
};
static PROTECTIONS: Set = Set {
    field: 0x7,
    values: &[
        (0, "PROT_NONE"),
        (1, "PROT_READ"),
        (2, "PROT_WRITE"),
        (3, "PROT_READ|PROT_WRITE"),
        (4, "PROT_EXEC"),
        (5, "PROT_READ|PROT_EXEC"),
        (6, "PROT_WRITE|PROT_EXEC"),
        (7, "PROT_READ|PROT_WRITE|PROT_EXEC"),
    ],
    flags: &[],
};
static MAP_FLAGS: Set = Set {
    field: 0xf,
    values: constants!(MAP_SHARED, MAP_PRIVATE, MAP_SHARED_VALIDATE),
    flags: constants!(
        MAP_FIXED,
        MAP_ANONYMOUS,
        MAP_GROWSDOWN,
        MAP_DENYWRITE,
        MAP_LOCKED,
        MAP_NORESERVE,
        MAP_POPULATE,
        MAP_STACK,
        MAP_HUGETLB,
        MAP_FIXED_NOREPLACE,
    ),
};
static OPEN_FLAGS: Set = Set {
    field: 0x3,
    values: constants!(O_RDONLY, O_WRONLY, O_RDWR),
    flags: constants!(
        O_TMPFILE,
        O_SYNC,
        O_CREAT,
        O_EXCL,
        O_NOCTTY,
        O_TRUNC,
        O_APPEND,
        O_NONBLOCK,
        O_DSYNC,
        O_DIRECTORY,
        O_NOFOLLOW,
        O_CLOEXEC,
        O_PATH,
        O_DIRECT,
        O_NOATIME,
    ),
};
/// The low byte is the signal for the parent.
static CLONE_FLAGS: Set = Set {
    field: 0xff,
    values: constants!(SIGCHLD),
    flags: constants!(
        CLONE_VM,
        CLONE_FS,
        CLONE_FILES,
        CLONE_SIGHAND,
        CLONE_PIDFD,
        CLONE_PTRACE,
        CLONE_VFORK,
        CLONE_PARENT,
        CLONE_THREAD,
        CLONE_NEWNS,
        CLONE_SYSVSEM,
        CLONE_SETTLS,
        CLONE_PARENT_SETTID,
        CLONE_CHILD_CLEARTID,
        CLONE_DETACHED,
        CLONE_UNTRACED,
        CLONE_CHILD_SETTID,
        CLONE_NEWCGROUP,
        CLONE_NEWUTS,
        CLONE_NEWIPC,
        CLONE_NEWUSER,
        CLONE_NEWPID,
        CLONE_NEWNET,
        CLONE_IO,
    ),
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::syscall_number;

    #[test]
    fn every_system_call_has_a_reason_and_nothing_else_has() {
        let all = parse().expect("every line has the form");
        for nr in 0..1024 {
            assert_eq!(syscall_name(nr).is_some(), denial(nr as i64).is_some(), "{nr}");
        }
        assert!(all.keys().all(|name| syscall_number(name).is_some()));
        for (name, denial) in &all {
            assert!(denial.why.len() > 20 && denial.instead.len() > 10, "{name}: {denial:?}");
            let names: Vec<&str> = denial.arguments.iter().map(|argument| argument.name).collect();
            let mut once = names.clone();
            once.sort_unstable();
            once.dedup();
            assert_eq!(once.len(), names.len(), "{name}: {names:?}");
        }
        assert_eq!(denial(-1), None);
    }

    fn show(form: &str, value: u64) -> String {
        Form::named(form).expect("known").show(value, |_| None)
    }

    #[test]
    fn arguments_are_words_where_that_is_simple() {
        for (form, value, words) in [
            ("d", 0xffff_ffff, "-1"),
            ("l", u64::MAX, "-1"),
            ("u", 4096, "4096"),
            ("o", 0o644, "0o644"),
            ("AT", 0xffff_ff9c, "AT_FDCWD"),
            ("AT", 5, "5"),
            ("AF", 2, "AF_INET"),
            ("AF", 99, "99"),
            ("SOCK", 0o2000001, "SOCK_STREAM|SOCK_CLOEXEC"),
            ("PROT", 0, "PROT_NONE"),
            ("PROT", 7, "PROT_READ|PROT_WRITE|PROT_EXEC"),
            ("PROT", 0x1000001, "PROT_READ|0x1000000"),
            ("MAP", 0x22, "MAP_PRIVATE|MAP_ANONYMOUS"),
            ("MAP", 0, "0x0"),
            ("O", 0, "O_RDONLY"),
            ("O", 0o2000101, "O_WRONLY|O_CREAT|O_CLOEXEC"),
            ("CLONE", 17, "SIGCHLD"),
            ("CLONE", 0x1000_0000, "CLONE_NEWUSER"),
            ("CLONE", 0x10f00, "CLONE_VM|CLONE_FS|CLONE_FILES|CLONE_SIGHAND|CLONE_THREAD"),
            ("s", 0x10, "0x10"),
        ] {
            assert_eq!(show(form, value), words, "{form} {value:#x}");
        }
    }

    #[test]
    fn texts_are_bounded_and_cannot_steer_a_terminal() {
        let text = |bytes: &[u8]| Form::Text.show(1, |_| Some(bytes.to_vec()));
        assert_eq!(text(b"/etc/passwd"), "\"/etc/passwd\"");
        assert_eq!(text(b"\x1b[2J\n\"\xff"), r#""\x1b[2J\n\"\xff""#);
        assert_eq!(text(&[b'a'; TEXT_MAX + 1]), format!("\"{}\"…", "a".repeat(TEXT_MAX)));
    }

    #[test]
    fn the_rule_that_is_missing_is_named() {
        let number = |name| i64::try_from(syscall_number(name).expect("known")).expect("small");
        let rule = |name, arguments| missing_rule(number(name), &arguments);
        assert_eq!(
            rule("socket", [0; 6]),
            "it would take a rule for socket in policy/running.json, and there is none"
        );
        let private = 0x22;
        assert_eq!(
            rule("mmap", [0, 4096, 7, private, u64::MAX, 0]),
            "policy/running.json answers mmap only where prot = PROT_READ|PROT_WRITE"
        );
        assert_eq!(
            rule("mmap", [0x1000, 4096, 3, private, 3, 0]),
            "policy/running.json answers mmap only where addr = 0 and fd = -1"
        );
        assert_eq!(missing_rule(1000, &[0; 6]), "no rule can name it");
    }
}
