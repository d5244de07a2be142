//! What a request asks for: the operation, and the partition keys that it touches.

use serde_json::Value;

/// What the taps read of a request.
#[derive(Debug, Clone)]
pub struct Request {
    /// The connection's number, from 1 in order of arrival at the tap.
    pub connection: u64,
    /// The request's number among all of this tap, from 1.
    pub number: u64,
    /// As in `PutItem`.
    pub operation: String,
    /// What it reads and writes; empty for what works with no items.
    pub accesses: Vec<Access>,
}

/// One key that a request works with.
#[derive(Debug, Clone, PartialEq)]
pub struct Access {
    /// Table, index and partition key, as in `events/acme`: what lies on one partition.
    pub partition_key: String,
    pub writes: bool,
    /// Write units where it writes; where it reads, they are known with the answer.
    pub(super) units: f64,
    /// Whether the read is strongly consistent.
    pub(super) consistent: bool,
}

impl Request {
    /// Whether it writes an item.
    pub fn writes(&self) -> bool {
        self.accesses.iter().any(|access| access.writes)
    }

    /// Whether it reads items, and writes none.
    pub fn reads(&self) -> bool {
        !self.accesses.is_empty() && !self.writes()
    }

    /// Whether it works with that partition key of any table.
    pub fn touches(&self, partition_key: &str) -> bool {
        self.accesses.iter().any(|access| {
            access
                .partition_key
                .split_once('/')
                .is_some_and(|(_, key)| key == partition_key)
        })
    }
}

/// The partition keys that the operation works with. `hash_key` is the name of the tables' partition key.
///
/// What has no key to be read here (`Scan`, PartiQL) touches the key "*", which stands for a key of its own.
pub(super) fn accesses(operation: &str, body: &Value, hash_key: &str) -> Vec<Access> {
    let read = |table: &Value, key: String, of: &Value| Access {
        partition_key: place(table, &key),
        writes: false,
        units: 0.0,
        consistent: of["ConsistentRead"].as_bool().unwrap_or(false),
    };
    let write = |table: &str, item: &Value, times: f64| Access {
        partition_key: place(&Value::from(table), &scalar(&item[hash_key])),
        writes: true,
        units: times * super::size::write_units(super::size::item(item)),
        consistent: false,
    };
    let table = body["TableName"].as_str().unwrap_or_default();
    match operation {
        "PutItem" => vec![write(table, &body["Item"], 1.0)],
        "DeleteItem" | "UpdateItem" => vec![write(table, &updated(body), 1.0)],
        "GetItem" => vec![read(&body["TableName"], scalar(&body["Key"][hash_key]), body)],
        "Query" => {
            let key = queried(body, hash_key).unwrap_or_else(|| "*".to_owned());
            let mut of = read(&body["TableName"], key, body);
            if let Some(index) = body["IndexName"].as_str() {
                of.partition_key = format!("{index}@{}", of.partition_key);
            }
            vec![of]
        }
        "Scan" | "ExecuteStatement" | "BatchExecuteStatement" | "ExecuteTransaction" => {
            vec![read(&body["TableName"], "*".to_owned(), body)]
        }
        "BatchWriteItem" => tables(body)
            .flat_map(|(table, writes)| list(writes).map(move |of| (table, of)))
            .map(|(table, of)| {
                let item = [&of["PutRequest"]["Item"], &of["DeleteRequest"]["Key"]];
                write(
                    table,
                    item.into_iter()
                        .find(|item| item.is_object())
                        .unwrap_or(&Value::Null),
                    1.0,
                )
            })
            .collect(),
        "BatchGetItem" => tables(body)
            .flat_map(|(table, of)| list(&of["Keys"]).map(move |key| (table, key, of)))
            .map(|(table, key, of)| read(&Value::from(table), scalar(&key[hash_key]), of))
            .collect(),
        // Both cost twice as much: once to prepare, once to commit.
        "TransactWriteItems" => list(&body["TransactItems"])
            .flat_map(|item| item.as_object().into_iter().flatten())
            .map(|(_, of)| {
                let item = match of["Item"].is_object() {
                    true => of["Item"].clone(),
                    false => updated(of),
                };
                write(of["TableName"].as_str().unwrap_or_default(), &item, 2.0)
            })
            .collect(),
        "TransactGetItems" => list(&body["TransactItems"])
            .map(|item| {
                let mut of = read(
                    &item["Get"]["TableName"],
                    scalar(&item["Get"]["Key"][hash_key]),
                    item,
                );
                of.consistent = true;
                of
            })
            .collect(),
        _ => Vec::new(),
    }
}

/// Key and values of an update: what it writes is not known here, but no more than that by its own words.
fn updated(body: &Value) -> Value {
    let key = body["Key"].as_object().cloned().unwrap_or_default();
    let values = body["ExpressionAttributeValues"].as_object().cloned();
    Value::Object(key.into_iter().chain(values.unwrap_or_default()).collect())
}

/// The value that a query asks the partition key to have.
fn queried(body: &Value, hash_key: &str) -> Option<String> {
    if let Some(condition) = body["KeyConditions"].get(hash_key) {
        return Some(scalar(&condition["AttributeValueList"][0]));
    }
    let names = &body["ExpressionAttributeNames"];
    let words = body["KeyConditionExpression"].as_str()?;
    let words = words.replace(['(', ')'], " ").replace('=', " = ");
    let words: Vec<&str> = words.split_whitespace().collect();
    let is_hash_key = |word: &str| word == hash_key || names[word] == hash_key;
    let value = words.windows(3).find_map(|words| match words {
        [name, "=", value] if is_hash_key(name) => Some(*value),
        [value, "=", name] if is_hash_key(name) => Some(*value),
        _ => None,
    });
    let value = &body["ExpressionAttributeValues"][value?];
    value.is_object().then(|| scalar(value))
}

fn tables(body: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let tables = body["RequestItems"].as_object().into_iter().flatten();
    tables.map(|(table, of)| (table.as_str(), of))
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// The text of a typed value, whatever its type.
pub(super) fn scalar(value: &Value) -> String {
    let typed = value.as_object().and_then(|typed| typed.values().next());
    typed.and_then(Value::as_str).unwrap_or_default().to_owned()
}

pub(super) fn place(table: &Value, key: &str) -> String {
    format!("{}/{key}", table.as_str().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    fn keys(operation: &str, body: &Value) -> Vec<(String, bool, f64)> {
        accesses(operation, body, "pk")
            .into_iter()
            .map(|access| (access.partition_key, access.writes, access.units))
            .collect()
    }

    #[rstest]
    #[case("PutItem", json!({ "TableName": "t", "Item": { "pk": { "S": "a" }, "v": { "S": "x".repeat(1500) } } }), "t/a", true, 2.0)]
    #[case("DeleteItem", json!({ "TableName": "t", "Key": { "pk": { "S": "a" } } }), "t/a", true, 1.0)]
    #[case("UpdateItem", json!({ "TableName": "t", "Key": { "pk": { "N": "7" } }, "UpdateExpression": "SET v = :v" }), "t/7", true, 1.0)]
    #[case("GetItem", json!({ "TableName": "t", "Key": { "pk": { "S": "a" } } }), "t/a", false, 0.0)]
    #[case("Query", json!({ "TableName": "t", "KeyConditionExpression": "pk = :p AND sk < :s",
        "ExpressionAttributeValues": { ":p": { "S": "a" }, ":s": { "S": "b" } } }), "t/a", false, 0.0)]
    #[case("Query", json!({ "TableName": "t", "KeyConditionExpression": "(#k=:p)and(sk<:s)",
        "ExpressionAttributeNames": { "#k": "pk" }, "ExpressionAttributeValues": { ":p": { "S": "a" } } }), "t/a", false, 0.0)]
    #[case("Query", json!({ "TableName": "t", "KeyConditions": { "pk": { "ComparisonOperator": "EQ",
        "AttributeValueList": [{ "S": "a" }] } } }), "t/a", false, 0.0)]
    #[case("Query", json!({ "TableName": "t", "IndexName": "i", "KeyConditionExpression": "other = :p" }), "i@t/*", false, 0.0)]
    #[case("Scan", json!({ "TableName": "t" }), "t/*", false, 0.0)]
    fn one_key_is_found(
        #[case] operation: &str,
        #[case] body: Value,
        #[case] key: &str,
        #[case] writes: bool,
        #[case] units: f64,
    ) {
        assert_eq!(keys(operation, &body), [(key.to_owned(), writes, units)]);
    }

    #[test]
    fn batches_and_transactions_touch_each_of_their_keys() {
        let put = json!({ "PutRequest": { "Item": { "pk": { "S": "a" } } } });
        let delete = json!({ "DeleteRequest": { "Key": { "pk": { "S": "b" } } } });
        let body = json!({ "RequestItems": { "t": [put, delete] } });
        let both = [("t/a".to_owned(), true, 1.0), ("t/b".to_owned(), true, 1.0)];
        assert_eq!(keys("BatchWriteItem", &body), both);
        let keys_of = json!([{ "pk": { "S": "a" } }, { "pk": { "S": "b" } }]);
        let body = json!({ "RequestItems": { "t": { "Keys": keys_of, "ConsistentRead": true } } });
        assert!(
            accesses("BatchGetItem", &body, "pk")
                .iter()
                .all(|access| access.consistent && !access.writes)
        );
        let put = json!({ "Put": { "TableName": "t", "Item": { "pk": { "S": "a" } } } });
        let check = json!({ "ConditionCheck": { "TableName": "t", "Key": { "pk": { "S": "b" } } } });
        let body = json!({ "TransactItems": [put, check] });
        let both = [("t/a".to_owned(), true, 2.0), ("t/b".to_owned(), true, 2.0)];
        assert_eq!(keys("TransactWriteItems", &body), both);
    }

    #[test]
    fn what_works_with_no_items_touches_nothing() {
        assert!(keys("CreateTable", &json!({ "TableName": "t" })).is_empty());
        assert!(keys("ListTables", &json!({})).is_empty());
        let request = Request {
            connection: 1,
            number: 1,
            operation: "PutItem".to_owned(),
            accesses: accesses(
                "PutItem",
                &json!({ "TableName": "t", "Item": { "pk": { "S": "a/b" } } }),
                "pk",
            ),
        };
        assert!(request.touches("a/b") && !request.touches("b") && request.writes() && !request.reads());
    }
}
