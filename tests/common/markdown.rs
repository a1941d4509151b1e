//! What the project's Markdown promises: commands, and their output.

use std::collections::BTreeMap;

/// A fenced block: its language and lines, and the last line of text before it.
#[derive(Clone, Debug)]
pub struct Block {
    /// What stands behind the fence.
    pub language: String,
    /// What is in it.
    pub lines: Vec<String>,
    /// The last line before it that is not blank.
    pub introduced_by: String,
}

/// Every fenced block of a text.
pub fn blocks(markdown: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut before = String::new();
    let mut lines = markdown.lines();
    while let Some(line) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let body = lines.by_ref().take_while(|line| !line.starts_with("```"));
            found.push(Block {
                language: language.to_owned(),
                lines: body.map(str::to_owned).collect(),
                introduced_by: before.clone(),
            });
        } else if !line.trim().is_empty() {
            before = line.to_owned();
        }
    }
    found
}

/// PDs run in parallel: only the order of each one's lines is settled.
pub fn by_pd<'a>(lines: impl Iterator<Item = &'a str>) -> BTreeMap<&'a str, Vec<&'a str>> {
    let mut pds: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for line in lines {
        let (pd, text) = line.split_once(" | ").unwrap_or(("(no PD)", line));
        pds.entry(pd).or_default().push(text);
    }
    pds
}
