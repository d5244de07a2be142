//! The bytes of a document. Customers compare them with signatures: not one may differ.

use tokio::io::AsyncWrite;

use crate::chunk::Chunk;
use crate::{RenderError, Req};

/// Sends the body of `req` to `client`; its length.
pub(crate) async fn send<W: AsyncWrite + Unpin>(req: &Req, client: &mut W) -> Result<usize, RenderError> {
    let mut chunk = Chunk::new(client);
    chunk.push(br#"{"tenant":"#).await?;
    chunk.quoted(&req.tenant).await?;
    chunk.push(br#","id":"#).await?;
    chunk.number(req.id).await?;
    chunk.push(br#","rows":["#).await?;
    let mut total = 0;
    for (n, row) in req.rows.iter().enumerate() {
        chunk.push(if n > 0 { b"," } else { b"" }).await?;
        chunk.push(br#"{"sku":"#).await?;
        chunk.quoted(&row.sku).await?;
        chunk.push(br#","text":"#).await?;
        chunk.quoted(&row.text).await?;
        chunk.push(br#","qty":"#).await?;
        chunk.number(row.qty.into()).await?;
        chunk.push(br#","price":"#).await?;
        money(&mut chunk, row.price_cents).await?;
        chunk.push(b"}").await?;
        total += u64::from(row.qty) * row.price_cents;
    }
    chunk.push(br#"],"live":{"#).await?;
    for (n, live) in req.live.iter().enumerate() {
        chunk.push(if n > 0 { b"," } else { b"" }).await?;
        chunk.quoted(live.name()).await?;
        chunk.push(b":").await?;
        chunk.number(live.read().map_err(RenderError::Value)?).await?;
    }
    chunk.push(br#"},"total":"#).await?;
    money(&mut chunk, total).await?;
    chunk.push(b"}\n").await?;
    chunk.end().await
}

async fn money<W: AsyncWrite + Unpin>(chunk: &mut Chunk<'_, W>, cents: u64) -> Result<(), RenderError> {
    let part = (cents % 100) as u8;
    chunk.push(b"\"").await?;
    chunk.number(cents / 100).await?;
    chunk
        .push(&[b'.', b'0' + part / 10, b'0' + part % 10, b'"'])
        .await
}
