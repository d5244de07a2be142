//! What requests are charged, and what becomes of those for which nothing is left.

use serde_json::{Map, Value, json};

use super::operation::{self, Request};
use super::partition::Partitions;
use super::refusal::Refusal;
use super::size;

/// What a counted item is taken for, since an answer to a query that only counts does not show it.
const COUNTED_ITEM_LEN: u64 = 256;

/// What may be passed on of a request.
#[derive(Debug, PartialEq)]
pub(super) enum Admission {
    All,
    /// A part of a batch: the body without the rest, and the rest.
    Part {
        body: Value,
        left: Value,
    },
    Refused(Refusal),
}

/// Charges what is written, and looks whether there is anything left to read. A batch is admitted item by item and refused
/// when none of them is, as DynamoDB does; anything else is admitted whole or not at all.
pub(super) fn admit(partitions: &Partitions, request: &Request, body: &Value) -> Admission {
    let needs: Vec<(&str, f64)> = request
        .accesses
        .iter()
        .map(|access| (access.partition_key.as_str(), access.units))
        .collect();
    let batch = matches!(request.operation.as_str(), "BatchWriteItem" | "BatchGetItem");
    if !batch {
        return match needs.is_empty() || partitions.admit(&needs) {
            true => Admission::All,
            false => Admission::Refused(Refusal::Throttled),
        };
    }
    let admitted: Vec<bool> = needs.iter().map(|need| partitions.admit(&[*need])).collect();
    in_part(body, &admitted)
}

/// A batch of which some items are `admitted`, in the order of the request's accesses.
pub(super) fn in_part(body: &Value, admitted: &[bool]) -> Admission {
    if admitted.iter().all(|admitted| *admitted) {
        return Admission::All;
    }
    if !admitted.iter().any(|admitted| *admitted) || !body["RequestItems"].is_object() {
        return Admission::Refused(Refusal::Throttled);
    }
    let mut admitted = admitted.iter().copied();
    let (mut now, mut left) = (Map::new(), Map::new());
    for (table, of) in body["RequestItems"].as_object().into_iter().flatten() {
        let (taken, kept) = split(of, &mut admitted);
        now.extend(taken.map(|taken| (table.clone(), taken)));
        left.extend(kept.map(|kept| (table.clone(), kept)));
    }
    let mut body = body.clone();
    body["RequestItems"] = Value::Object(now);
    Admission::Part {
        body,
        left: Value::Object(left),
    }
}

/// A table's part of a batch, in two: what is admitted and what is not.
fn split(of: &Value, admitted: &mut impl Iterator<Item = bool>) -> (Option<Value>, Option<Value>) {
    let keys = of.get("Keys");
    let list = keys.unwrap_or(of).as_array().cloned().unwrap_or_default();
    let (taken, kept): (Vec<Value>, Vec<Value>) =
        list.into_iter().partition(|_| admitted.next().unwrap_or(true));
    let again = |list: Vec<Value>| {
        (!list.is_empty()).then(|| match keys {
            Some(_) => {
                let mut of = of.clone();
                of["Keys"] = Value::Array(list);
                of
            }
            None => Value::Array(list),
        })
    };
    (again(taken), again(kept))
}

/// The answer to a part of a batch, as if it had been the answer to all of it.
pub(super) fn with_the_rest(operation: &str, mut answer: Value, left: Value) -> Value {
    let name = match operation {
        "BatchGetItem" => "UnprocessedKeys",
        _ => "UnprocessedItems",
    };
    if !answer[name].is_object() {
        answer[name] = json!({});
    }
    for (table, of) in left.as_object().into_iter().flatten() {
        let known = &mut answer[name][table];
        let mut list = known
            .get("Keys")
            .unwrap_or(known)
            .as_array()
            .cloned()
            .unwrap_or_default();
        match of.get("Keys") {
            Some(keys) => {
                list.extend(keys.as_array().into_iter().flatten().cloned());
                *known = of.clone();
                known["Keys"] = Value::Array(list);
            }
            None => {
                list.extend(of.as_array().into_iter().flatten().cloned());
                *known = Value::Array(list);
            }
        }
    }
    answer
}

/// Charges what was read, once it is known.
pub(super) fn settle(partitions: &Partitions, request: &Request, answer: &Value, hash_key: &str) {
    let Some(first) = request.accesses.first().filter(|_| request.reads()) else {
        return;
    };
    let items = |of: &Value| of.as_array().into_iter().flatten().map(size::item).sum::<u64>();
    match request.operation.as_str() {
        "GetItem" => {
            let units = size::read_units(size::item(&answer["Item"]), first.consistent);
            partitions.charge_read(&first.partition_key, units);
        }
        "BatchGetItem" => {
            for (table, found) in answer["Responses"].as_object().into_iter().flatten() {
                for item in found.as_array().into_iter().flatten() {
                    let key =
                        operation::place(&Value::from(table.as_str()), &operation::scalar(&item[hash_key]));
                    let units = size::read_units(size::item(item), first.consistent);
                    partitions.charge_read(&key, units);
                }
            }
        }
        "TransactGetItems" => {
            for (access, item) in request
                .accesses
                .iter()
                .zip(answer["Responses"].as_array().into_iter().flatten())
            {
                let units = 2.0 * size::read_units(size::item(&item["Item"]), true);
                partitions.charge_read(&access.partition_key, units);
            }
        }
        _ => {
            let len = match answer.get("Items") {
                Some(found) => items(found),
                None => answer["ScannedCount"].as_u64().unwrap_or(0) * COUNTED_ITEM_LEN,
            };
            partitions.charge_read(&first.partition_key, size::read_units(len, first.consistent));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::partition::Limit;
    use super::*;

    fn request(operation: &str, body: &Value) -> Request {
        Request {
            connection: 1,
            number: 1,
            operation: operation.to_owned(),
            accesses: operation::accesses(operation, body, "pk"),
        }
    }

    fn limited(write_units: f64, read_units: f64) -> Partitions {
        let partitions = Partitions::default();
        partitions.limit(Some(Limit {
            write_units,
            read_units,
        }));
        partitions
    }

    fn put(key: &str) -> Value {
        json!({ "PutRequest": { "Item": { "pk": { "S": key } } } })
    }

    #[test]
    fn a_batch_is_admitted_item_by_item() {
        let partitions = limited(1.0, 1.0);
        let body = json!({ "RequestItems": { "t": [put("a"), put("a"), put("b")] } });
        let admission = admit(&partitions, &request("BatchWriteItem", &body), &body);
        let part = Admission::Part {
            body: json!({ "RequestItems": { "t": [put("a"), put("b")] } }),
            left: json!({ "t": [put("a")] }),
        };
        assert_eq!(admission, part);
        let again = admit(&partitions, &request("BatchWriteItem", &body), &body);
        assert_eq!(again, Admission::Refused(Refusal::Throttled));
        let answer = with_the_rest(
            "BatchWriteItem",
            json!({ "UnprocessedItems": {} }),
            json!({ "t": [put("a")] }),
        );
        assert_eq!(answer, json!({ "UnprocessedItems": { "t": [put("a")] } }));
        let answer = with_the_rest("BatchWriteItem", answer, json!({ "t": [put("b")] }));
        assert_eq!(
            answer,
            json!({ "UnprocessedItems": { "t": [put("a"), put("b")] } })
        );
    }

    #[test]
    fn keys_that_are_left_out_keep_what_was_asked_of_them() {
        let partitions = limited(1.0, 1.0);
        let key = |key: &str| json!({ "pk": { "S": key } });
        let body =
            json!({ "RequestItems": { "t": { "Keys": [key("a"), key("b")], "ConsistentRead": true } } });
        let read = request("BatchGetItem", &body);
        assert_eq!(admit(&partitions, &read, &body), Admission::All);
        let answer =
            json!({ "Responses": { "t": [{ "pk": { "S": "a" }, "v": { "S": "x".repeat(5000) } }] } });
        settle(&partitions, &read, &answer, "pk");
        assert_eq!(partitions.window().read_units.iter().sum::<f64>(), 2.0);
        let Admission::Part { body, left } = admit(&partitions, &read, &body) else {
            panic!("one of the two has nothing left");
        };
        assert_eq!(
            body["RequestItems"]["t"],
            json!({ "Keys": [key("b")], "ConsistentRead": true })
        );
        assert_eq!(
            left,
            json!({ "t": { "Keys": [key("a")], "ConsistentRead": true } })
        );
        let answer = with_the_rest("BatchGetItem", json!({ "Responses": {} }), left.clone());
        assert_eq!(answer, json!({ "Responses": {}, "UnprocessedKeys": left }));
    }

    #[test]
    fn a_check_says_itself_what_is_left_out() {
        let key = |key: &str| json!({ "pk": { "S": key } });
        let batch = json!({ "RequestItems": { "t": { "Keys": [key("a"), key("b")] } } });
        let Admission::Part { body, left } = in_part(&batch, &[true, false]) else {
            panic!("not in part");
        };
        assert_eq!(body["RequestItems"]["t"]["Keys"], json!([key("a")]));
        assert_eq!(left["t"]["Keys"], json!([key("b")]));
        assert_eq!(in_part(&batch, &[true, true]), Admission::All);
        let refused = Admission::Refused(Refusal::Throttled);
        assert_eq!(in_part(&batch, &[false, false]), refused);
        assert_eq!(in_part(&json!({ "Key": key("a") }), &[false]), refused);
    }

    #[test]
    fn a_transaction_is_admitted_whole_or_not_at_all() {
        let partitions = limited(3.0, 1.0);
        let put = |key: &str| json!({ "Put": { "TableName": "t", "Item": { "pk": { "S": key } } } });
        let body = json!({ "TransactItems": [put("a"), put("b")] });
        assert_eq!(
            admit(&partitions, &request("TransactWriteItems", &body), &body),
            Admission::All
        );
        let refused = Admission::Refused(Refusal::Throttled);
        assert_eq!(
            admit(&partitions, &request("TransactWriteItems", &body), &body),
            refused
        );
        assert_eq!(partitions.window().write_units.iter().sum::<f64>(), 4.0);
    }

    #[test]
    fn reads_are_charged_by_what_they_found() {
        let partitions = Partitions::default();
        let units = || partitions.window().read_units.iter().sum::<f64>();
        let query = json!({ "TableName": "t", "ConsistentRead": true, "KeyConditionExpression": "pk = :p",
            "ExpressionAttributeValues": { ":p": { "S": "a" } } });
        let query = request("Query", &query);
        let item = json!({ "pk": { "S": "a" }, "v": { "S": "x".repeat(2000) } });
        settle(&partitions, &query, &json!({ "Items": [item, item, item] }), "pk");
        assert_eq!(
            units(),
            2.0,
            "a query's items are added up before they are rounded"
        );
        settle(
            &partitions,
            &query,
            &json!({ "Count": 100, "ScannedCount": 100 }),
            "pk",
        );
        assert_eq!(units(), 9.0);
        let get = request(
            "GetItem",
            &json!({ "TableName": "t", "Key": { "pk": { "S": "a" } } }),
        );
        settle(&partitions, &get, &json!({}), "pk");
        assert_eq!(units(), 9.5, "what is not there costs as well");
    }
}
