//! What the wire format would change: an ordinary event read and written as JSON and as Protocol Buffers.
//!
//! No change of format is graded: the contract with the edge is JSON. Run it with `cargo bench -p cpu-spike-solution`.

use std::hint::black_box;

use cpu_spike_solution::{Action, Pipeline, RuleSpec};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use prost::Message;
use serde::{Deserialize, Serialize};

/// The schema's fields, and no others: what a typed format can promise.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
struct Event {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(string, tag = "2")]
    tenant: String,
    #[prost(uint64, tag = "3")]
    at: u64,
    #[prost(string, tag = "4")]
    trace: String,
    #[prost(message, required, tag = "5")]
    body: View,
}

#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
struct View {
    #[prost(string, tag = "1")]
    path: String,
    #[prost(string, tag = "2")]
    agent: String,
    #[prost(uint32, tag = "3")]
    ms: u32,
    #[prost(uint32, tag = "4")]
    status: u32,
}

fn event() -> Event {
    Event {
        id: 16_045_690_984_503_098_046,
        tenant: "acme".to_owned(),
        at: 1_700_000_123_456,
        trace: "00f067aa0ba902b7".to_owned(),
        body: View {
            path: "/p/4711?ref=mail".to_owned(),
            agent: "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0".to_owned(),
            ms: 31,
            status: 200,
        },
    }
}

fn rules() -> Vec<RuleSpec> {
    let rule = |name: &str, field: &str, pattern: &str| RuleSpec {
        name: name.to_owned(),
        field: field.to_owned(),
        pattern: pattern.to_owned(),
        action: Action::Flag,
    };
    vec![
        rule("admin area", "body.path", "^/(admin|internal)(/|$)"),
        rule("traversal", "body.path", r"\.\./|%2e%2e"),
        rule("scanner", "body.agent", "(?i)sqlmap|nikto|masscan"),
    ]
}

fn formats(criterion: &mut Criterion) {
    let event = event();
    let json = serde_json::to_vec(&event).expect("an event is JSON");
    let protobuf = event.encode_to_vec();
    println!(
        "one event: {} bytes of JSON, {} of Protocol Buffers",
        json.len(),
        protobuf.len()
    );

    let mut group = criterion.benchmark_group("an event read and written");
    group.throughput(Throughput::Elements(1));
    let mut out = Vec::with_capacity(1024);
    group.bench_function("json, typed and owned", |bencher| {
        bencher.iter(|| {
            out.clear();
            let event: Event = serde_json::from_slice(black_box(&json)).expect("it was written above");
            serde_json::to_writer(&mut out, &event).expect("an event is JSON");
        });
    });
    group.bench_function("protobuf, typed and owned", |bencher| {
        bencher.iter(|| {
            out.clear();
            let event = Event::decode(black_box(&protobuf[..])).expect("it was written above");
            event.encode(&mut out).expect("a vector takes it");
        });
    });
    for (name, rules) in [
        ("gatekeeper, no rules", Vec::new()),
        ("gatekeeper, three rules", rules()),
    ] {
        let pipeline = Pipeline::new(rules).expect("the patterns are in order");
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                out.clear();
                pipeline
                    .process(black_box(&json), &mut out)
                    .expect("an event is valid")
            });
        });
    }
    group.finish();
}

criterion_group!(benches, formats);
criterion_main!(benches);
