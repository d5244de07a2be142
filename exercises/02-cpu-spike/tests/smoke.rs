use std::time::Duration;

use bytes::Bytes;
use cpu_spike::{Action, MAX_EVENT_BYTES, Pipeline, Reject, RuleSpec, Verdict};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

fn rule(name: &str, field: &str, pattern: &str, action: Action) -> RuleSpec {
    RuleSpec {
        name: name.to_owned(),
        field: field.to_owned(),
        pattern: pattern.to_owned(),
        action,
    }
}

fn rules() -> Vec<RuleSpec> {
    vec![
        rule("admin area", "body.path", "^/admin", Action::Flag),
        rule("scanner", "body.agent", "(?i)sqlmap|nikto", Action::Block),
    ]
}

fn view(path: &str, agent: &str) -> String {
    json!({ "id": 18446744073709551615_u64, "tenant": "acme", "at": 1700000000000_u64, "trace": "t-1",
            "body": { "path": path, "agent": agent } })
    .to_string()
}

fn processed(pipeline: &Pipeline, raw: &str) -> (Verdict, Value) {
    let mut out = b"before ".to_vec();
    let verdict = pipeline.process(raw.as_bytes(), &mut out).unwrap();
    let added = out.strip_prefix(b"before ").unwrap();
    (verdict, serde_json::from_slice(added).unwrap())
}

#[test]
fn an_event_is_passed_on_with_what_was_found() {
    let pipeline = Pipeline::new(rules()).unwrap();
    let (verdict, event) = processed(&pipeline, &view("/admin/users", "sqlmap/1.7"));
    assert_eq!(verdict, Verdict::Block);
    assert_eq!(
        event["gatekeeper"],
        json!({ "kind": "view", "verdict": "block", "rules": ["admin area", "scanner"] })
    );
    assert_eq!(event["id"], json!(18446744073709551615_u64));
    assert_eq!(event["trace"], "t-1");
    assert_eq!(processed(&pipeline, &view("/", "curl")).0, Verdict::Pass);
    assert_eq!(processed(&pipeline, &view("/admin", "curl")).0, Verdict::Flag);
}

#[test]
fn what_is_no_event_is_rejected() {
    let pipeline = Pipeline::new(rules()).unwrap();
    let mut out = Vec::new();
    let huge = view(&"/".repeat(MAX_EVENT_BYTES), "curl");
    for (raw, reject) in [
        (huge.as_str(), Reject::TooLarge),
        ("{\"id\": 1", Reject::Malformed),
        ("{\"id\": 1}", Reject::Invalid),
    ] {
        assert_eq!(pipeline.process(raw.as_bytes(), &mut out), Err(reject));
    }
    assert!(out.is_empty());
}

#[test]
fn rules_are_replaced_as_a_whole() {
    let pipeline = Pipeline::new(rules()).unwrap();
    let error = pipeline
        .reload(vec![rule("unclosed", "tenant", "(", Action::Flag)])
        .unwrap_err();
    assert_eq!(error.rule, "unclosed");
    assert_eq!(processed(&pipeline, &view("/admin", "curl")).0, Verdict::Flag);
    pipeline
        .reload(vec![rule("acme", "tenant", "^acme$", Action::Block)])
        .unwrap();
    let (_, event) = processed(&pipeline, &view("/admin", "curl"));
    assert_eq!(event["gatekeeper"]["rules"], json!(["acme"]));
}

#[tokio::test]
async fn a_batch_keeps_its_order() {
    let pipeline = Pipeline::new(rules()).unwrap();
    let batch = vec![
        view("/a", "curl").into(),
        Bytes::from("{"),
        view("/b", "curl").into(),
    ];
    let results = pipeline.process_batch(batch).await;
    let path = |index: usize| {
        let event: Value = serde_json::from_slice(results[index].as_ref().unwrap()).unwrap();
        event["body"]["path"].clone()
    };
    assert_eq!((path(0), path(2)), (json!("/a"), json!("/b")));
    assert_eq!(results[1], Err(Reject::Malformed));
}

#[tokio::test(start_paused = true)]
async fn a_stream_takes_rules_as_they_come_and_ends_with_its_events() {
    let pipeline = Pipeline::new(Vec::new()).unwrap();
    let (events, rx) = mpsc::channel(4);
    let (rules_tx, rules_rx) = watch::channel(Vec::new());
    let (tx, mut passed) = mpsc::channel(4);
    let traffic = async move {
        events.send(view("/admin", "curl").into()).await.unwrap();
        let first = passed.recv().await.unwrap();
        rules_tx.send(rules()).unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
        events.send(view("/admin", "curl").into()).await.unwrap();
        let second = passed.recv().await.unwrap();
        // The stream ends with the last event, so the configuration is still there.
        drop(events);
        assert_eq!(passed.recv().await, None);
        drop(rules_tx);
        [first, second]
    };
    let (stats, seen) = tokio::join!(pipeline.run(rx, rules_rx, tx), traffic);
    assert_eq!((stats.processed, stats.rejected), (2, 0));
    let verdict =
        |raw: &Bytes| serde_json::from_slice::<Value>(raw).unwrap()["gatekeeper"]["verdict"].clone();
    assert_eq!(
        (verdict(&seen[0]), verdict(&seen[1])),
        (json!("pass"), json!("flag"))
    );
}
