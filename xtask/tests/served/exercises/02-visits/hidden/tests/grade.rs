use harness::{Check, OrObserved, Spec, check, ensure};
use visits_hidden::subject;

#[test]
fn two_visits_are_two() {
    check!(Spec::multi_thread(2).deadline_s(5), async |cx: &Check| {
        let postgres = cx.postgres().await?;
        let sql = subject::statement();
        let mut client = postgres.as_subject().await?;
        let rows = client.query(sql).await.or_observed("the statement failed")?;
        let counted = rows.first().and_then(|row| row.text(0)).unwrap_or("nothing").to_owned();
        ensure!(counted == "2", "The second visit is not counted.", "{counted} visits");
        Ok(())
    });
}
