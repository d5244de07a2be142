//! Events that are written together.

use std::collections::{HashMap, HashSet};

use tokio::sync::{mpsc, oneshot};

use crate::partstore::{Key, PartStore, Row, StoreError};

/// How many events wait for a batch, and how many make one.
const WAITING_MAX: usize = 256;
const BATCH_MAX: usize = 25;

type Answer = Result<(), StoreError>;

/// One event and who waits for it.
type Entry = (Row, oneshot::Sender<Answer>);

/// Hands events to the task that writes them. It ends with the last handle.
pub struct Batches(mpsc::Sender<Entry>);

impl Batches {
    pub fn start(store: PartStore) -> Batches {
        let (sender, mut entries) = mpsc::channel::<Entry>(WAITING_MAX);
        tokio::spawn(async move {
            let mut batch = Vec::new();
            // What has gathered while a batch was written is the next one.
            while entries.recv_many(&mut batch, BATCH_MAX).await > 0 {
                let (rows, waiting): (Vec<Row>, Vec<_>) = batch.drain(..).unzip();
                let answers = write(&store, &rows).await;
                for (waiting, answer) in waiting.into_iter().zip(answers) {
                    // Who has gone away will send it again.
                    let _ = waiting.send(answer);
                }
            }
        });
        Batches(sender)
    }

    /// Returns when the event is written.
    pub async fn write(&self, row: Row) -> Answer {
        let lost = || StoreError::Unavailable("the writer is gone".to_owned());
        let (sender, answer) = oneshot::channel();
        self.0.send((row, sender)).await.map_err(|_| lost())?;
        answer.await.map_err(|_| lost())?
    }
}

async fn write(store: &PartStore, rows: &[Row]) -> Vec<Answer> {
    match written(store, rows).await {
        Ok(left) => rows
            .iter()
            .map(|row| match left.contains(&(row.pk.clone(), row.sk.clone())) {
                true => Err(StoreError::Throttled),
                false => Ok(()),
            })
            .collect(),
        Err(error) => rows.iter().map(|_| Err(error.clone())).collect(),
    }
}

/// Writes what is not there yet; returns what could not be written or looked at.
async fn written(store: &PartStore, rows: &[Row]) -> Result<HashSet<Key>, StoreError> {
    let rows: HashMap<Key, &Row> = rows
        .iter()
        .map(|row| ((row.pk.clone(), row.sk.clone()), row))
        .collect();
    let keys: Vec<Key> = rows.keys().cloned().collect();
    let found = store.get_many(&keys).await?;
    let there: HashSet<Key> = found.rows.into_iter().map(|row| (row.pk, row.sk)).collect();
    let mut left: HashSet<Key> = found.unprocessed.into_iter().collect();
    let new = rows
        .into_iter()
        .filter(|(key, _)| !there.contains(key) && !left.contains(key));
    let new: Vec<Row> = new.map(|(_, row)| row.clone()).collect();
    let refused = store.put_many(&new).await?;
    left.extend(refused.into_iter().map(|row| (row.pk, row.sk)));
    Ok(left)
}
