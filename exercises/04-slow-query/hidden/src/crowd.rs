use harness::{Failure, OrObserved, Outcome};
use pgwire::Client;

use crate::others::{self, REGIONS};
use crate::stage::{Stage, ours};

/// A sign-up whose transaction stays open: it has written, and has not committed.
pub struct Writer {
    session: Client,
}

impl Writer {
    /// Signs somebody up, waiting for a lock for one second at most. `None` when that was not enough.
    pub async fn open(stage: &Stage, region: &str, email: &str) -> Result<Option<Writer>, Failure> {
        let mut session = stage.pg.admin().await?;
        session
            .execute("BEGIN; SET LOCAL lock_timeout = '1s'")
            .await
            .map_err(ours)?;
        match session.execute(&others::sign_up(region, email)).await {
            Ok(_) => Ok(Some(Writer { session })),
            Err(error) if error.sqlstate() == Some("55P03") => Ok(None),
            Err(error) => Err(Failure::new(format!("a sign-up failed: {error}"))),
        }
    }

    /// The server's process that the transaction belongs to.
    pub fn pid(&self) -> i32 {
        self.session.pid()
    }

    pub async fn commit(mut self) -> Outcome {
        self.session
            .execute("COMMIT")
            .await
            .or_observed("a sign-up failed to commit")?;
        self.session.close().await.map_err(ours)
    }
}

/// People who sign up one after the other: the next one comes before the one before has gone.
#[derive(Default)]
pub struct Crowd {
    came: usize,
    open: Option<Writer>,
}

impl Crowd {
    /// The one whose transaction is open.
    pub fn open(&self) -> Option<&Writer> {
        self.open.as_ref()
    }

    /// Sees to it that a transaction is open, where nothing is in the way.
    pub async fn come(&mut self, stage: &Stage) -> Outcome {
        if self.open.is_none() {
            let writer = self.one_more(stage).await?;
            self.open =
                Some(writer.or_observed("a sign-up had to wait although no statement of a deploy ran")?);
        }
        Ok(())
    }

    /// The next one comes, and then the one before goes. `false` when the next one had to wait for more than a second.
    pub async fn move_on(&mut self, stage: &Stage) -> Result<bool, Failure> {
        let Some(next) = self.one_more(stage).await? else {
            return Ok(false);
        };
        self.leave().await?;
        self.open = Some(next);
        Ok(true)
    }

    /// The last one goes.
    pub async fn leave(&mut self) -> Outcome {
        match self.open.take() {
            Some(writer) => writer.commit().await,
            None => Ok(()),
        }
    }

    async fn one_more(&mut self, stage: &Stage) -> Result<Option<Writer>, Failure> {
        // Each in another region than the one before: whether those of one region wait for each other is another question.
        let region = REGIONS[self.came % REGIONS.len()];
        self.came += 1;
        Writer::open(stage, region, &format!("writer{}@example.org", self.came)).await
    }
}
