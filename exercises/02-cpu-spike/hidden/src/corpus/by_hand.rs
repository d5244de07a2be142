/// Events and what becomes of them, by [`super::rules`]: `kind verdict`, or the rejection.
pub const BY_HAND: [(&str, &str); 30] = [
    (
        r#"{"id":1,"tenant":"t","at":2,"body":{"path":"/","agent":"a","a.b":"yes"}}"#,
        "view block",
    ),
    (
        r#"{"id":1,"tenant":"t","at":2,"body":{"path":"/","agent":"a","a":{"b":"yes"}}}"#,
        "view pass",
    ),
    (
        r#"{"id":1,"tenant":"t","at":2,"body":{"path":"/","agent":"a"}}"#,
        "view pass",
    ),
    (
        r#"{"id":1,"tenant":"t","at":2,"body":{"path":"\/adm\u0069n","agent":"a"}}"#,
        "view flag",
    ),
    (
        r#"{"id":1,"tenant":"admin","tenant":"t","at":2,"body":{"path":"/","agent":"a"}}"#,
        "view pass",
    ),
    (
        r#"{"id":"x","id":1,"tenant":"t","at":2,"body":{"path":"/","agent":"a"}}"#,
        "view pass",
    ),
    (
        r#"{"id":1,"tenant":"t","ten\u0061nt":"admin","at":2,"body":{"path":"/","agent":"a"}}"#,
        "view flag",
    ),
    (
        r#"{"id":1,"tenant":"t","at":2,"body":[],"body":{"path":"/","path":"/admin","agent":"a"}}"#,
        "view flag",
    ),
    (
        r#"{"id":1,"tenant":"t","at":2,"body":{"amount":1,"amount":"1","currency":"EUR","user":"u","ip":"i"}}"#,
        "login flag",
    ),
    (
        r#"{"id":1,"tenant":"t","at":2,"body":{"amount":-5,"currency":"CHF","user":"u","ip":"i"}}"#,
        "payment pass",
    ),
    (
        r#"{"id":1,"tenant":"t","at":2,"body":{"amount":1.0,"currency":"CHF","path":"/","agent":"a"}}"#,
        "view pass",
    ),
    (
        r#"{"id":1,"tenant":"t","at":2,"gatekeeper":{"verdict":"pass"},"note":"NEIN!","body":{"path":"/","agent":"a"}}"#,
        "view block",
    ),
    (
        r#"{"id":1,"tenant":"t","at":2,"gate\u006beeper":1,"body":{"path":"/","agent":"a"}}"#,
        "view pass",
    ),
    (
        r#"{"id":1,"tenant":"t","at":2,"note":"","body":{"path":"/","agent":"a"}}"#,
        "view flag",
    ),
    (
        r#"{"id":1,"tenant":"t","at":2,"note":7,"body":{"path":"/","agent":"a"}}"#,
        "view pass",
    ),
    (
        r#"{"id":18446744073709551615,"tenant":"t","at":0,"body":{"user":"🏔","ip":"i"}}"#,
        "login block",
    ),
    (
        r#"{"id":1,"tenant":"t","at":2,"body":{"user":"\ud83c\udfd4","ip":"i"}}"#,
        "login block",
    ),
    (
        r#"{"id":18446744073709551616,"tenant":"t","at":0,"body":{"user":"u","ip":"i"}}"#,
        "invalid",
    ),
    (
        r#"{"id":-1,"tenant":"t","at":0,"body":{"user":"u","ip":"i"}}"#,
        "invalid",
    ),
    (
        r#"{"id":1.0,"tenant":"t","at":0,"body":{"user":"u","ip":"i"}}"#,
        "invalid",
    ),
    (
        r#"{"id":1,"tenant":"","at":0,"body":{"user":"u","ip":"i"}}"#,
        "invalid",
    ),
    (
        r#"{"id":1,"tenant":"t","at":0,"body":{"user":"u","ip":null}}"#,
        "invalid",
    ),
    (
        r#"{"id":1,"tenant":"t","at":0,"body":{"user":"u","ip":"i"},"body":"user"}"#,
        "invalid",
    ),
    (r#"{"id":1,"tenant":"t","body":{"user":"u","ip":"i"}}"#, "invalid"),
    (r#"[1,2,3]"#, "invalid"),
    (r#"{}"#, "invalid"),
    ("", "malformed"),
    (
        r#"{"id":1,"tenant":"t","at":0,"body":{"user":"u","ip":"i"}}}"#,
        "malformed",
    ),
    (
        r#"{"id":1,"tenant":"t","at":0,"body":{"user":"u","ip":"i"},}"#,
        "malformed",
    ),
    (
        r#"{"id":1,"tenant":"t","at":0,"body":{"user":"u","ip":"i""#,
        "malformed",
    ),
];
