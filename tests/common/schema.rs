//! As much of JSON Schema (2020-12) as the project's own schema uses. A keyword that is not known here is a failure, so that nothing
//! in a schema is skipped in silence.

use serde_json::Value;

/// Every violation, with its place.
pub fn violations(schema: &Value, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    check(schema, schema, value, "", &mut found);
    found
}

fn check(root: &Value, schema: &Value, value: &Value, place: &str, found: &mut Vec<String>) {
    let Some(keywords) = schema.as_object() else {
        return found.push(format!("{place}: the schema is no object: {schema}"));
    };
    for (keyword, operand) in keywords {
        let holds = match keyword.as_str() {
            "$schema" | "$defs" | "title" | "description" => true,
            "$ref" => {
                let pointer = operand.as_str().and_then(|reference| reference.strip_prefix('#'));
                let target = pointer.and_then(|pointer| root.pointer(pointer));
                check(root, target.unwrap_or(&Value::Null), value, place, found);
                true
            }
            "const" => value == operand,
            "enum" => operand.as_array().is_some_and(|words| words.contains(value)),
            "type" => types(operand).iter().any(|word| is_of_type(value, word)),
            "required" => types(operand).iter().all(|name| !value.is_object() || value.get(name).is_some()),
            "minimum" => value.as_f64().is_none_or(|number| number >= operand.as_f64().unwrap()),
            "minItems" => length(value).is_none_or(|length| length >= operand.as_u64().unwrap()),
            "maxItems" => length(value).is_none_or(|length| length <= operand.as_u64().unwrap()),
            "pattern" => value.as_str().is_none_or(|text| matches(operand.as_str().unwrap(), text)),
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    check(root, operand, item, &format!("{place}/{index}"), found);
                }
                true
            }
            "properties" => {
                for (name, inner) in operand.as_object().unwrap() {
                    if let Some(member) = value.get(name) {
                        check(root, inner, member, &format!("{place}/{name}"), found);
                    }
                }
                true
            }
            "additionalProperties" => {
                let known = keywords.get("properties").and_then(Value::as_object);
                for (name, member) in value.as_object().into_iter().flatten() {
                    if known.is_some_and(|known| known.contains_key(name)) {
                        continue;
                    }
                    match operand {
                        Value::Bool(false) => found.push(format!("{place}/{name}: not in the schema")),
                        inner => check(root, inner, member, &format!("{place}/{name}"), found),
                    }
                }
                true
            }
            unknown => panic!("{place}: the keyword `{unknown}` is not known here"),
        };
        if !holds {
            found.push(format!("{place}: {keyword} {operand}, but it is {value}"));
        }
    }
}

/// A word, or a list of them.
fn types(operand: &Value) -> Vec<&str> {
    match operand {
        Value::String(word) => vec![word],
        list => list.as_array().unwrap().iter().filter_map(Value::as_str).collect(),
    }
}

fn is_of_type(value: &Value, word: &str) -> bool {
    match word {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64(),
        unknown => panic!("the type `{unknown}` is not known here"),
    }
}

fn length(value: &Value) -> Option<u64> {
    value.as_array().map(|list| list.len() as u64)
}

/// The two forms of pattern there are: `^PREFIX[0-9a-f]{LEAST,MOST}$`.
fn matches(pattern: &str, text: &str) -> bool {
    let (prefix, count) = pattern.strip_prefix('^').unwrap().split_once("[0-9a-f]{").unwrap();
    let count = count.strip_suffix("}$").unwrap();
    let (least, most) = count.split_once(',').unwrap_or((count, count));
    let range = least.parse().unwrap()..=most.parse::<usize>().unwrap();
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    text.strip_prefix(prefix)
        .is_some_and(|digits| range.contains(&digits.len()) && digits.bytes().all(is_digit))
}
