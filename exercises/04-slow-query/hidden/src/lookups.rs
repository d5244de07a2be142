//! What a look-up answers on the grown table, and what it costs.

use harness::{Check, OrObserved, Outcome, ensure};

use crate::bill::{Bill, Call, EXECUTIONS};
use crate::listing::{SHORT, page, same};
use crate::others::{REGIONS, addresses, ids};
use crate::stage::{Stage, ours};
use crate::subject::{Cursor, Directory};

/// In blocks, as the manifest has them: what is far above is not measured twelve times.
const PAGE_LIMIT: u64 = 400;
const COUNT_LIMIT: u64 = 500;
const ADDRESS_LIMIT: u64 = 50;

/// How deep page 51 of 50 users begins.
const DEEP: u32 = 2_500;

pub async fn on_the_grown_table(cx: &Check) -> Outcome {
    let mut stage = Stage::grown(cx).await?;
    cx.stage("deploying");
    stage.migrate().await?;
    stage.vacuum().await?;
    let directory = stage.replica(1).await?;
    let region = cx.draw("region", &REGIONS);
    let deep = right(&mut stage, &directory, region).await?;

    let (emails, ids) = (
        addresses(cx, &mut stage).await?,
        ids(cx, &mut stage, EXECUTIONS + 1).await?,
    );
    let first_page = Call::Page { region, after: None };
    let after = Some(&deep);
    let page_51 = Call::Page { region, after };
    cx.stage("counting blocks");
    let mut bill = Bill::new(&mut stage, &directory);
    bill.blocks(cx, "first_page_blocks", &[first_page], PAGE_LIMIT)
        .await?;
    bill.blocks(cx, "page_51_blocks", &[page_51], PAGE_LIMIT).await?;
    bill.blocks(cx, "count_blocks", &[Call::Count { region }], COUNT_LIMIT)
        .await?;
    bill.blocks(
        cx,
        "address_blocks",
        &[Call::Address { emails: &emails }],
        ADDRESS_LIMIT,
    )
    .await?;
    let changes = [Call::Status { ids: &ids }, Call::Bio { ids: &ids }];
    bill.price_list(&changes).await?;
    bill.statements(cx, "call_statements");
    planned_once(cx, &mut stage, &[first_page, page_51]).await
}

/// Compares what is measured afterwards with what is in the table; the place where page 51 begins.
async fn right(stage: &mut Stage, directory: &Directory, region: &str) -> Result<Cursor, harness::Failure> {
    let expected = stage.active(region).await?;
    let (first, _) = page(directory, region, None, 50).await?;
    same(&expected[..50], &first, "the first page of 50")?;
    let (many, deep) = page(directory, region, None, DEEP).await?;
    let begins = DEEP as usize;
    ensure!(
        many.len() == begins,
        SHORT,
        "a page of {DEEP} held {} users, with more to come",
        many.len()
    );
    let deep = deep.or_observed("after 2500 users of a region there was no next page")?;
    let (page_51, _) = page(directory, region, Some(deep.clone()), 50).await?;
    same(&expected[begins..begins + 50], &page_51, "page 51 of 50")?;
    let count = directory
        .count_active(region)
        .await
        .or_observed("count_active failed")?;
    ensure!(
        count == expected.len() as i64,
        "The count is exact.",
        "{count} counted, {} active",
        expected.len()
    );
    Ok(deep)
}

/// The same pages where the server plans once for all parameters, as it may decide to do after five executions.
async fn planned_once(cx: &Check, stage: &mut Stage, pages: &[Call<'_>]) -> Outcome {
    let alter = format!(
        "ALTER ROLE \"{}\" SET plan_cache_mode = force_generic_plan",
        stage.pg.role()
    );
    stage.admin.execute(&alter).await.map_err(ours)?;
    let replica = stage.replica(1).await?;
    let mut bill = Bill::new(stage, &replica);
    bill.blocks(cx, "generic_plan_blocks", pages, PAGE_LIMIT).await
}
