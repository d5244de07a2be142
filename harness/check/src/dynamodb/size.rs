//! How large items are, and what that costs: DynamoDB's own rules.
//!
//! Source: "Amazon DynamoDB item sizes and formats" and "DynamoDB read and write operations" in its developer guide.

use serde_json::Value;

/// One write unit is for an item of that size.
const WRITE_UNIT_LEN: u64 = 1024;

/// One read unit is for that much, read consistently; half a one, read eventually consistently.
const READ_UNIT_LEN: u64 = 4096;

/// The size of an item (or a key) in bytes: names and values. Numbers count as their digits.
pub(super) fn item(item: &Value) -> u64 {
    let attributes = item.as_object().into_iter().flatten();
    attributes
        .map(|(name, value)| name.len() as u64 + attribute(value))
        .sum()
}

fn attribute(value: &Value) -> u64 {
    let Some((kind, value)) = value.as_object().and_then(|typed| typed.iter().next()) else {
        return 0;
    };
    let text = |value: &Value| value.as_str().map_or(0, str::len) as u64;
    let list = |of: &dyn Fn(&Value) -> u64| value.as_array().into_iter().flatten().map(of).sum::<u64>();
    match kind.as_str() {
        "S" => text(value),
        "N" => text(value) / 2 + 1,
        "B" => text(value) / 4 * 3,
        "BOOL" | "NULL" => 1,
        "SS" => list(&text),
        "NS" => list(&|value| text(value) / 2 + 1),
        "BS" => list(&|value| text(value) / 4 * 3),
        "L" => 3 + list(&|value| 1 + attribute(value)),
        "M" => 3 + item(value) + value.as_object().map_or(0, serde_json::Map::len) as u64,
        _ => 0,
    }
}

/// Write units for one item of that size.
pub(super) fn write_units(len: u64) -> f64 {
    len.div_ceil(WRITE_UNIT_LEN).max(1) as f64
}

/// Read units for what one request read of one key.
pub(super) fn read_units(len: u64, consistent: bool) -> f64 {
    let units = len.div_ceil(READ_UNIT_LEN).max(1) as f64;
    if consistent { units } else { units / 2.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    #[rstest]
    #[case(json!({ "pk": { "S": "ab" }, "sk": { "S": "c" } }), 7)]
    #[case(json!({ "n": { "N": "1234" } }), 4)]
    #[case(json!({ "b": { "B": "AAAA" } }), 4)]
    #[case(json!({ "l": { "L": [{ "S": "abc" }] } }), 8)]
    #[case(json!({ "m": { "M": { "x": { "BOOL": true } } } }), 7)]
    #[case(json!({ "s": { "SS": ["a", "bc"] } }), 4)]
    #[case(json!({}), 0)]
    fn items_are_as_large_as_their_names_and_values(#[case] value: Value, #[case] len: u64) {
        assert_eq!(item(&value), len);
    }

    #[rstest]
    #[case(0, 1.0, 1.0)]
    #[case(1024, 1.0, 1.0)]
    #[case(1025, 2.0, 1.0)]
    #[case(4097, 5.0, 2.0)]
    fn units_are_rounded_up(#[case] len: u64, #[case] writes: f64, #[case] reads: f64) {
        assert_eq!(write_units(len), writes);
        assert_eq!(read_units(len, true), reads);
        assert_eq!(read_units(len, false), reads / 2.0);
    }
}
