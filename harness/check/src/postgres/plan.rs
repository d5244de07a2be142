//! The plan of a statement as a driver gets it.
//!
//! A plan shown for a statement with its values written into it is not the one that a driver's prepared statement
//! gets: the planner sees parameters, of the types that the driver declares, and after five executions it may settle
//! on a plan that is good for any value.

use super::fixture::{broken, literal};
use crate::Failure;
use pgwire::Client;

/// A statement with its parameters.
#[derive(Debug, Clone, Copy)]
pub struct Prepared<'a> {
    pub sql: &'a str,
    /// The parameters' types as object ids; 0, or a list that is too short, leaves them to the server.
    pub types: &'a [u32],
    /// Values as text; `None` is NULL.
    pub parameters: &'a [Option<&'a str>],
}

/// Prepares the statement, executes it that often under `EXPLAIN (ANALYZE, BUFFERS)`, and returns the plan of the first
/// execution, and that of the last where it has another shape. What it changes is rolled back.
///
/// # Errors
/// The statement can't be prepared or executed: its author's fault, so the verdict is fail.
pub async fn as_prepared(
    client: &mut Client,
    prepared: &Prepared<'_>,
    executions: u32,
) -> Result<String, Failure> {
    let types = type_names(client, prepared.types).await?;
    let failed = |error: pgwire::Error| {
        Failure::new(format!("a statement can't be explained: {error}")).evidence(prepared.sql.to_owned())
    };
    client
        .execute(&format!("PREPARE explained{types} AS {}", prepared.sql))
        .await
        .map_err(failed)?;
    let values: Vec<String> = prepared
        .parameters
        .iter()
        .map(|value| value.map_or_else(|| "NULL".to_owned(), literal))
        .collect();
    let values = if values.is_empty() {
        String::new()
    } else {
        format!("({})", values.join(", "))
    };
    let explain = format!("EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, SUMMARY OFF) EXECUTE explained{values}");

    let mut plans: Vec<String> = Vec::new();
    for _ in 0..executions.max(1) {
        client.execute("BEGIN").await.map_err(failed)?;
        let rows = client.query(&explain).await;
        client.execute("ROLLBACK").await.map_err(failed)?;
        let lines: Vec<String> = rows
            .map_err(failed)?
            .iter()
            .filter_map(|row| row.text(0).map(str::to_owned))
            .collect();
        plans.push(lines.join("\n"));
    }
    client.execute("DEALLOCATE explained").await.map_err(failed)?;
    Ok(told(&plans))
}

/// The first plan, and the place where its shape changed.
fn told(plans: &[String]) -> String {
    let Some(first) = plans.first() else {
        return String::new();
    };
    let changed = plans.iter().position(|plan| shape(plan) != shape(first));
    match (changed, plans.last()) {
        (Some(at), Some(last)) => format!("{first}\nfrom execution {} on:\n{last}", at + 1),
        _ => first.clone(),
    }
}

/// A plan without its figures.
fn shape(plan: &str) -> Vec<&str> {
    let figures = [
        "Buffers:",
        "Rows Removed",
        "Heap Fetches:",
        "Sort Method:",
        "Planning:",
        "Memory:",
    ];
    plan.lines()
        .map(|line| line.split("  (").next().unwrap_or(line).trim())
        .filter(|line| !figures.iter().any(|figure| line.starts_with(figure)))
        .collect()
}

async fn type_names(client: &mut Client, types: &[u32]) -> Result<String, Failure> {
    if types.is_empty() {
        return Ok(String::new());
    }
    let names: Vec<String> = types
        .iter()
        .map(|oid| {
            if *oid == 0 {
                "'unknown'".to_owned()
            } else {
                format!("format_type({oid}, NULL)")
            }
        })
        .collect();
    let rows = client
        .query(&format!("SELECT concat_ws(', ', {})", names.join(", ")))
        .await
        .map_err(broken("name the parameters' types"))?;
    Ok(format!(
        "({})",
        rows.first().and_then(|row| row.text(0)).unwrap_or_default()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_change_of_shape_is_told() {
        let custom = "Index Scan using a on t  (cost=1 rows=1) (actual rows=3 loops=1)\n  Index Cond: (a = 'x'::text)\n  Buffers: shared hit=3";
        let again = custom.replace("hit=3", "hit=4");
        let generic = "Seq Scan on t  (cost=1 rows=9) (actual rows=3 loops=1)\n  Filter: (a = $1)";
        assert_eq!(told(&[custom.to_owned(), again.clone()]), custom);
        assert_eq!(
            told(&[custom.to_owned(), again, generic.to_owned()]),
            format!("{custom}\nfrom execution 3 on:\n{generic}")
        );
    }
}
