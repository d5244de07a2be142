//! Walks from the first page of a region to the last.

use harness::{Check, Failure, OrObserved, Outcome, ensure};

use crate::listing::{SHORT, page, same, walk, whole};
use crate::others::{REGIONS, moderate};
use crate::stage::{Listed, Stage};
use crate::subject::Directory;

/// Names that no region has.
const NO_REGION: [&str; 4] = ["EU", "e_", "", "eu' OR region <> '"];

pub async fn list_everybody(cx: &Check, stage: &mut Stage) -> Outcome {
    let (one, other) = (stage.replica(2).await?, stage.replica(2).await?);
    let limit = cx.draw("page size", &[23, 37, 50, 64]);
    for region in REGIONS {
        let expected = stage.active(region).await?;
        let listed = walk(&[&one, &other], region, limit, async |_| Ok(())).await?;
        same(&expected, &listed, &format!("`{region}` in pages of {limit}"))?;
        end_between_equals(&one, &other, region, &expected).await?;
    }
    for region in NO_REGION {
        let (nobody, _) = page(&one, region, None, 10).await?;
        let count = one
            .count_active(region)
            .await
            .or_observed("count_active failed")?;
        ensure!(
            nobody.is_empty() && count == 0,
            "A region is compared as it is: bound or quoted, and not as a pattern.",
            "region `{region}`, which does not exist, lists {} users and counts {count}",
            nobody.len()
        );
    }
    Ok(())
}

/// Pages that end in the middle of a shared moment.
async fn end_between_equals(
    one: &Directory,
    other: &Directory,
    region: &str,
    expected: &[Listed],
) -> Outcome {
    let tied = (1..expected.len()).filter(|&n| expected[n - 1].moment_us == expected[n].moment_us);
    for n in tied.step_by(5) {
        let first = u32::try_from(n).unwrap_or(u32::MAX);
        let (mut listed, next) = page(one, region, None, first).await?;
        ensure!(
            listed.len() == n,
            SHORT,
            "a page of {n} held {} users of `{region}`, and there are more",
            listed.len()
        );
        listed.extend(page(other, region, next, 20).await?.0);
        let until = expected.len().min(n + 20);
        let what = format!("`{region}`, {n} users and then 20");
        same(&expected[..until], &listed, &what)?;
    }
    Ok(())
}

pub async fn stay_whole(cx: &Check, stage: &mut Stage) -> Outcome {
    let (one, other) = (stage.replica(2).await?, stage.replica(2).await?);
    let limit = cx.draw("page size", &[23, 37, 50]);

    let constant = stage.active("eu").await?;
    let mut sign_ups = 0;
    let listed = walk(&[&one, &other], "eu", limit, async |_| {
        for _ in 0..3 {
            sign_ups += 1;
            let email = format!("newcomer{sign_ups}@example.org");
            stage.sign_up("eu", &email).await?;
        }
        Ok(())
    })
    .await?;
    whole(&constant, &listed, "people signed up between the pages")?;

    let constant = stage.active("apac").await?;
    let listed = walk(&[&one, &other], "apac", limit, async |listed: &[Listed]| {
        // Among those who leave is the very user whom the cursor was taken from.
        for user in listed.iter().rev().take(3) {
            let left = stage.admin.execute(&moderate(user.id, "suspended")).await;
            left.map_err(|error| Failure::new(format!("moderation failed: {error}")))?;
        }
        Ok(())
    })
    .await?;
    let what = "people who had been listed were suspended between the pages";
    whole(&constant, &listed, what)
}
