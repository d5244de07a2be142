//! etcd's keys, and how long the leases live that they hang on.
//!
//! Costs two requests and one more for each lease when somebody looks, past the taps. Cannot see: keys that have gone.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use harness::etcd::Etcd;
use serde_json::{Value, json};

use crate::shift::Shift;
use crate::view::{Table, View};

/// Keys that are shown.
const KEYS_SHOWN: u32 = 100;

/// The view of a node.
pub fn watch(shift: &Shift, etcd: &Arc<Etcd>) {
    let etcd = etcd.clone();
    shift.view(View::new(
        "etcd",
        "etcd: its keys, and its leases with the seconds that they have left",
        move |_| look(etcd.clone()),
    ));
}

async fn look(etcd: Arc<Etcd>) -> Result<Vec<Table>, String> {
    let mut leases = BTreeMap::new();
    let found = asked(&etcd, "/v3/lease/leases", &json!({})).await?;
    for lease in found["leases"].as_array().into_iter().flatten() {
        let id = text(&lease["ID"]);
        let told = asked(&etcd, "/v3/lease/timetolive", &json!({ "ID": id, "keys": true })).await?;
        let keys = told["keys"].as_array().cloned().unwrap_or_default();
        let keys: Vec<String> = keys.iter().map(|key| plain(&text(key))).collect();
        leases.insert(id, (text(&told["TTL"]), text(&told["grantedTTL"]), keys));
    }
    // From the first key to the last: a zero byte is both ends.
    let all = json!({ "key": "AA==", "range_end": "AA==", "limit": KEYS_SHOWN, "sort_order": "DESCEND", "sort_target": "CREATE" });
    let found = asked(&etcd, "/v3/kv/range", &all).await?;
    let keys = found["kvs"].as_array().cloned().unwrap_or_default();
    let rows = keys.iter().map(|kv| {
        vec![
            plain(&text(&kv["key"])),
            plain(&text(&kv["value"])),
            text(&kv["create_revision"]),
            text(&kv["mod_revision"]),
            kv["lease"].as_str().unwrap_or_default().to_owned(),
        ]
    });
    let leases = leases
        .into_iter()
        .map(|(id, (left, granted, keys))| vec![id, left, granted, keys.join(", ")]);
    Ok(vec![
        Table {
            title: "Keys, the newest first".to_owned(),
            head: ["key", "value", "create revision", "mod revision", "lease"]
                .map(str::to_owned)
                .to_vec(),
            rows: rows.collect(),
            ..Table::default()
        },
        Table {
            title: "Leases".to_owned(),
            head: ["lease", "seconds left", "of", "keys"]
                .map(str::to_owned)
                .to_vec(),
            rows: leases.collect(),
            ..Table::default()
        },
    ])
}

async fn asked(etcd: &Etcd, path: &str, body: &Value) -> Result<Value, String> {
    etcd.ask(path, body)
        .await
        .map_err(|error| format!("failed to ask etcd: {error}"))
}

/// Numbers come as text there, and what is 0 not at all.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "0".to_owned(),
        other => other.to_string(),
    }
}

/// Keys and values come in base64.
fn plain(text: &str) -> String {
    let bytes = BASE64_STANDARD.decode(text).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}
