//! What `gatekeeper`'s users do: page views mostly, some logins, a few payments; rules of the fraud desk.

use bytes::Bytes;
use fastrand::Rng;

use crate::subject::{Action, RuleSpec};

pub fn rule(name: &str, field: &str, pattern: &str, action: Action) -> RuleSpec {
    RuleSpec {
        name: name.to_owned(),
        field: field.to_owned(),
        pattern: pattern.to_owned(),
        action,
    }
}

/// The rules of an ordinary day.
pub fn rules() -> Vec<RuleSpec> {
    use Action::{Block, Flag};
    vec![
        rule("admin area", "body.path", "^/(admin|internal)(/|$)", Flag),
        rule("traversal", "body.path", r"\.\./|%2e%2e", Block),
        rule("scanner", "body.agent", "(?i)sqlmap|nikto|masscan", Block),
        rule("private network", "body.ip", r"^(10|192\.168)\.", Flag),
        rule("test tenant", "tenant", "^test-", Flag),
        rule("exotic currency", "body.currency", "^X[A-Z]{2}$", Flag),
    ]
}

/// Events of an ordinary day.
pub fn events(rng: &mut Rng, count: usize) -> Vec<Bytes> {
    (0..count).map(|_| event(rng).into()).collect()
}

/// One of them.
pub fn event(rng: &mut Rng) -> String {
    let tenant = rng.choice(["acme", "globex", "initech", "test-7", "umbrella"]);
    event_of(rng, tenant.unwrap_or("acme"))
}

/// An event of one tenant.
pub fn event_of(rng: &mut Rng, tenant: &str) -> String {
    let body = match rng.u32(..100) {
        0..4 => payment(rng),
        4..15 => login(rng),
        _ => view(rng),
    };
    let (id, at, trace) = (rng.u64(..), 1_700_000_000_000 + rng.u64(..1_000_000), rng.u64(..));
    format!(
        r#"{{"id":{id},"tenant":"{tenant}","at":{at},"trace":"{trace:016x}","geo":{{"city":"Zürich","lat":47.3769,"lon":8.5417}},"body":{body},"sampled":false}}"#
    )
}

fn payment(rng: &mut Rng) -> String {
    let currency = rng.choice(["EUR", "CHF", "XMR"]).unwrap_or("EUR");
    format!(
        r#"{{"amount":{},"currency":"{currency}","method":"card"}}"#,
        rng.i64(1..1_000_000)
    )
}

fn login(rng: &mut Rng) -> String {
    let ip = rng
        .choice(["10.0.3.7", "203.0.113.9", "192.168.1.20"])
        .unwrap_or("10.0.3.7");
    format!(r#"{{"user":"user-{}","ip":"{ip}"}}"#, rng.u32(..5000))
}

fn view(rng: &mut Rng) -> String {
    let path = rng
        .choice([
            "/",
            "/cart",
            "/admin/users",
            "/checkout/address",
            "/p/4711?ref=mail",
            "/p/9120/reviews?page=2",
            "/search?q=bergschuhe",
            "/static/app.9f1c.js",
            "/static/../../etc/passwd",
            "/q?x=\\\"1\\\"",
        ])
        .unwrap_or("/");
    let agent = rng
        .choice([
            "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
            "curl/8.9.1",
            "SQLMap/1.7",
        ])
        .unwrap_or("curl/8.9.1");
    format!(
        r#"{{"path":"{path}","agent":"{agent}","ms":{},"status":200,"referrer":null}}"#,
        rng.u32(..900)
    )
}
