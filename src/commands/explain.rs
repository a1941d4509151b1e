//! `mk-sandbox explain`: what a kind of finding means.

#![forbid(unsafe_code)]

use super::inspect_args::ExplainArgs;
use super::say;
use crate::exit::Exit;
use crate::report::lint::{Level, Lint, kinds};
use crate::report::words::{Align, table};

/// Explains one kind, or lists all.
pub fn run(args: &ExplainArgs) -> Exit {
    let Some(id) = &args.id else {
        let row = |lint: &&Lint| vec![lint.id.to_owned(), word(lint.level).to_owned(), lint.title.to_owned()];
        let rows: Vec<Vec<String>> = kinds::ALL.iter().map(row).collect();
        return say(&table(0, &[Align::Left; 3], &rows));
    };
    match kinds::by_id(id) {
        Some(lint) => say(&explain(lint)),
        None => {
            super::told::tell(&format!(
                "there is no kind of finding `{id}`; `mk-sandbox explain` lists them all"
            ));
            Exit::Usage
        }
    }
}

fn word(level: Level) -> &'static str {
    match level {
        Level::Allow => "allow",
        Level::Note => "note",
        Level::Warn => "warn",
        Level::Deny => "deny",
    }
}

fn explain(lint: &Lint) -> String {
    let change = match lint.adjustable {
        true => format!(
            "Level: {}. For another one: --deny, --warn or --allow {id}.\n\
             For one place in a system file: <!-- mk-allow {id}: reason -->",
            word(lint.level),
            id = lint.id
        ),
        false => format!("Level: {}, always.", word(lint.level)),
    };
    let images = if lint.needs_images { "\n\nFound only where the image is there." } else { "" };
    format!("{}: {}\n\n{}\n\n{}\n\n{change}{images}\n", lint.id, lint.title, fill(lint.why), fill(lint.fix))
}

/// Lines of at most 100 characters.
fn fill(text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.chars().count() + 1 + word.chars().count() <= 100 => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines.join("\n")
}
