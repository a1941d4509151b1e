//! The formats for machines, as far as their readers rely on it.

use std::fs;

use roxmltree::Document;
use serde_json::Value;

use super::support::{check, code, err, images, out, program, scratch};

fn write(format: &str, arguments: &[&str]) -> (i32, String) {
    let images = images().to_str().expect("UTF-8");
    let mut all = vec!["check", "--format", format, "--search-path", images];
    all.extend(arguments);
    let output = program(&all);
    assert_eq!(err(&output), "", "findings go to standard output");
    (code(&output), out(&output))
}

const SYSTEMS: [&str; 6] = [
    "region-written-and-executed.system",
    "image-refused.system",
    "allowed.system",
    "invalid-system.system",
    "full-budget-at-top-priority.system",
    "../../../examples/ring/ring.system",
];

#[test]
fn json_has_places_levels_and_related_places() {
    let (code, json) = check(&["region-written-and-executed.system"]);
    assert_eq!(code, 0);
    assert_eq!(json["valid"], true);
    assert_eq!(json["file"], "region-written-and-executed.system");
    assert_eq!(json["summary"], serde_json::json!({"errors": 0, "warnings": 1, "notes": 0, "suppressed": 0}));
    let finding = &json["findings"][0];
    assert_eq!(finding["level"], "warning");
    assert_eq!(finding["message"], "PD `b` executes region `code`, which PD `a` may write");
    assert_eq!((&finding["end_line"], &finding["end_column"]), (&Value::from(10), &Value::from(54)));
    assert_eq!(finding["related"][0]["line"], 6);
    let (code, json) = check(&["no-such-file.system"]);
    assert_eq!((code, json["valid"].as_bool()), (3, Some(false)));
    assert_eq!(json["findings"][0]["id"], "invalid-system");
}

/// The parts of the published schema that its readers rely on: required members, their types, and the words allowed.
#[test]
fn sarif_has_the_structure_of_2_1_0() {
    for system in SYSTEMS {
        let (_, text) = write("sarif", &[system]);
        let log: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(log["version"], "2.1.0");
        assert!(log["$schema"].as_str().is_some_and(|schema| schema.ends_with("sarif-schema-2.1.0.json")));
        let runs = log["runs"].as_array().expect("a list");
        assert_eq!(runs.len(), 1);
        let driver = &runs[0]["tool"]["driver"];
        assert_eq!(driver["name"], "mk-sandbox");
        let rules = driver["rules"].as_array().expect("a list");
        for rule in rules {
            assert!(rule["id"].is_string() && rule["shortDescription"]["text"].is_string(), "{rule}");
            assert!(
                rule["fullDescription"]["text"].is_string() && rule["help"]["text"].is_string(),
                "{rule}"
            );
            assert_level(&rule["defaultConfiguration"]["level"]);
        }
        for result in runs[0]["results"].as_array().expect("a list") {
            let rule =
                &rules[usize::try_from(result["ruleIndex"].as_u64().expect("an index")).expect("small")];
            assert_eq!(rule["id"], result["ruleId"]);
            assert_level(&result["level"]);
            assert!(result["message"]["text"].as_str().is_some_and(|text| !text.is_empty()));
            let locations = [&result["locations"], &result["relatedLocations"]];
            let all: Vec<&Value> = locations.into_iter().filter_map(Value::as_array).flatten().collect();
            assert!(!all.is_empty());
            for location in all {
                let physical = &location["physicalLocation"];
                let uri = physical["artifactLocation"]["uri"].as_str().expect("a string");
                assert!(uri.ends_with(".system") && !uri.contains(' '), "{uri}");
                let number = |key: &str| physical["region"][key].as_u64().expect(key);
                assert!(number("startLine") >= 1 && number("startColumn") >= 1);
                let start = (number("startLine"), number("startColumn"));
                assert!(start <= (number("endLine"), number("endColumn")));
            }
            for suppression in result["suppressions"].as_array().into_iter().flatten() {
                assert!(["inSource", "external"].contains(&suppression["kind"].as_str().expect("a string")));
                assert!(suppression["justification"].is_string());
            }
        }
    }
    let (_, text) = write("sarif", &["allowed.system"]);
    assert_eq!(text.matches("\"inSource\"").count(), 3);
}

fn assert_level(level: &Value) {
    assert!(["none", "note", "warning", "error"].contains(&level.as_str().expect("a string")), "{level}");
}

#[test]
fn junit_has_a_case_for_each_kind_and_fails_those_that_deny() {
    for system in SYSTEMS {
        let (code, text) = write("junit", &[system]);
        let document = Document::parse(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        let suite = document.root_element().first_element_child().expect("a suite");
        let cases: Vec<_> = suite.children().filter(|node| node.has_tag_name("testcase")).collect();
        assert_eq!(suite.attribute("tests"), Some(cases.len().to_string().as_str()));
        let failed = |case: &&roxmltree::Node| case.children().any(|node| node.has_tag_name("failure"));
        let failures = cases.iter().filter(failed).count();
        assert_eq!(suite.attribute("failures"), Some(failures.to_string().as_str()));
        assert_eq!(failures > 0, code != 0, "{system}");
    }
    let (_, text) = write("junit", &["image-refused.system"]);
    let document = Document::parse(&text).expect("XML");
    let failure = document.descendants().find(|node| node.has_tag_name("failure")).expect("one");
    assert_eq!(failure.attribute("message"), Some("image `image-refused.elf`: not an ELF file"));
    assert!(failure.text().is_some_and(|text| text.starts_with("image-refused.system:5:30: error: ")));
}

#[test]
fn github_gets_one_line_a_finding() {
    let (_, text) = write("github", &["region-written-and-executed.system"]);
    assert_eq!(
        text,
        "::warning file=region-written-and-executed.system,line=10,col=9,endColumn=54,title=region-written-and-executed::\
         PD `b` executes region `code`, which PD `a` may write%0Awhoever writes it decides what runs there\n"
    );
    let (code, text) = write("github", &["invalid-system.system"]);
    assert_eq!((code, text.lines().count()), (3, 1));
    assert!(text.starts_with("::error file=invalid-system.system,line=3,col=34,"), "{text}");
    let (_, text) = write("github", &["allowed.system"]);
    assert_eq!(text, "");
}

#[test]
fn people_get_the_id_the_place_and_the_summary() {
    let output = program(&["check", "region-unused.system"]);
    let told = err(&output);
    assert!(told.contains("warning[region-unused]: the memory region `spare` is not used\n"), "{told}");
    assert!(told.contains("--> region-unused.system:3:5\n"), "{told}");
    assert_eq!(
        out(&output),
        "region-unused.system: valid: 2 protection domains, 1 memory region, 1 channel (2 warnings)\n",
        "the other warning is the missing image"
    );
}

#[test]
fn output_goes_to_the_file_alone() {
    let directory = scratch("output");
    for format in ["human", "json", "sarif", "junit", "github"] {
        let file = directory.join(format);
        let path = file.to_str().expect("UTF-8");
        let output =
            program(&["check", "--format", format, "--output", path, "map-writable-executable.system"]);
        assert_eq!((code(&output), out(&output).as_str(), err(&output).as_str()), (1, "", ""), "{format}");
        let text = fs::read_to_string(&file).expect("written");
        assert!(text.contains("map-writable-executable"), "{format}: {text}");
        assert!(!text.contains('\u{1b}'), "{format}: no colours in files");
    }
    let nowhere = program(&["check", "--output", "no/such/directory/x", "region-unused.system"]);
    assert_eq!(code(&nowhere), 5);
}
