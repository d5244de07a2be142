use std::io;
use std::sync::Arc;

use buffer_churn::{Live, Render, RenderCfg, RenderError, Req, Row};
use tokio::io::AsyncReadExt;

const INVOICE: &str = concat!(
    r#"{"tenant":"acme","id":7,"rows":[{"sku":"a-1","text":"say \"hi\"","qty":2,"price":"12.05"},"#,
    r#"{"sku":"b-2","text":"","qty":1,"price":"0.50"}],"live":{"stock":17},"total":"24.60"}"#,
    "\n"
);

fn render() -> Render {
    Render::new(RenderCfg {
        max_idle: 8,
        max_retained: 64 * 1024,
        typical: 1024,
    })
}

fn row(sku: &str, text: &str, qty: u32, price_cents: u64) -> Row {
    Row {
        sku: sku.into(),
        text: text.into(),
        qty,
        price_cents,
    }
}

fn invoice() -> Req {
    Req {
        tenant: "acme".into(),
        id: 7,
        rows: vec![row("a-1", r#"say "hi""#, 2, 1205), row("b-2", "", 1, 50)],
        live: vec![Live::new("stock", || Ok(17))],
    }
}

fn rendered(render: &Render, req: &Req) -> Result<String, RenderError> {
    let mut body = Vec::new();
    let len = render.render_into(req, &mut |piece| {
        body.extend_from_slice(piece);
        Ok(())
    })?;
    assert_eq!(len, body.len());
    Ok(String::from_utf8(body).unwrap())
}

#[test]
fn an_invoice_is_rendered() {
    let render = render();
    for _ in 0..100 {
        assert_eq!(rendered(&render, &invoice()).unwrap(), INVOICE);
    }
}

#[test]
fn an_empty_document_has_a_body() {
    let body = rendered(&render(), &Req::default()).unwrap();
    assert_eq!(
        body,
        "{\"tenant\":\"\",\"id\":0,\"rows\":[],\"live\":{},\"total\":\"0.00\"}\n"
    );
}

#[test]
fn a_large_document_is_rendered() {
    let mut large = invoice();
    large.rows[0].text = "x".repeat(1 << 20);
    let body = rendered(&render(), &large).unwrap();
    assert_eq!(body.len(), INVOICE.len() - r#"say \"hi\""#.len() + (1 << 20));
    assert!(body.ends_with("\"total\":\"24.60\"}\n"));
}

#[test]
fn a_value_that_cannot_be_read_is_an_error() {
    let mut offline = invoice();
    offline.live = vec![Live::new("stock", || Err("the warehouse is offline".into()))];
    let error = rendered(&render(), &offline).unwrap_err();
    assert!(matches!(error, RenderError::Value(_)));
    assert!(error.to_string().contains("the warehouse is offline"));
}

#[test]
fn a_sink_that_fails_is_an_error() {
    let full = render().render_into(&invoice(), &mut |_| Err(io::ErrorKind::StorageFull.into()));
    assert!(matches!(full, Err(RenderError::Io(error)) if error.kind() == io::ErrorKind::StorageFull));
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_are_sent_their_bodies() {
    let render = Arc::new(render());
    let clients: Vec<_> = (0..50)
        .map(|_| {
            let render = render.clone();
            tokio::spawn(async move {
                // Takes a few bytes at a time.
                let (mut ours, mut client) = tokio::io::duplex(16);
                let responded = async move { render.respond(&invoice(), &mut ours).await };
                let mut body = String::new();
                let (sent, heard) = tokio::join!(responded, client.read_to_string(&mut body));
                assert_eq!(sent.unwrap(), INVOICE.len());
                assert_eq!(heard.unwrap(), INVOICE.len());
                assert_eq!(body, INVOICE);
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
}
