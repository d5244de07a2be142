//! From a plan to the misconception behind it, as far as a plan tells.

use crate::bill::Call;

/// The sentence to be printed beside the plan of a call that read too much.
pub fn of_plan(call: Call<'_>, plan: &str) -> &'static str {
    let has = |words: &str| plan.contains(words);
    let conditions = |column: &str| {
        let compared = |line: &&str| line.contains("Index Cond:") && line.contains(&format!("({column} = "));
        plan.lines().filter(compared).count() > 0
    };
    let whole_table = has("Seq Scan on ");
    let filtered_by_or = plan
        .lines()
        .any(|line| line.contains("Filter:") && line.contains(" OR "));
    let found_by_key = has("users_pkey") && conditions("id");
    match call {
        Call::Status { .. } | Call::Bio { .. } if found_by_key => {
            "The user is found at once; the rest are indices that have to be changed with the row: with few distinct values \
             an index of some kinds has to look for room among all that are equal."
        }
        Call::Status { .. } | Call::Bio { .. } => {
            "One user is changed, and much more is read to find them: the primary key's index is what finds a user by id."
        }
        Call::Page { .. } if has("Query Text:") && !has("Limit  (") && !has("Function Scan") => {
            "Everybody is fetched, and the page is cut out afterwards: LIMIT, and where to go on, belong into the statement."
        }
        Call::Page { .. } | Call::Count { .. }
            if has("Rows Removed by Filter")
                && !whole_table
                && !has("Index Cond:")
                && (has("Sort Key:") || has("Aggregate")) =>
        {
            "No index leads to these rows: with sequential scans forbidden the same table is read by way of an index that has \
             nothing to do with the question."
        }
        Call::Page { after: Some(_), .. } if !whole_table && filtered_by_or => {
            "An OR is a filter and no place in an index: everything before the cursor is read and thrown away; compare rows, \
             or add a bound that the index can use."
        }
        // With an index for the order, what makes a deep page dear is how it is reached.
        Call::Page { after: Some(_), .. }
            if !whole_table && !has("Sort Key:") && !has("Rows Removed by Filter") =>
        {
            "Deep pages re-read all previous rows: a page has to begin where the last one ended, not after a \
                           number of rows."
        }
        Call::Address { .. } if has("~~*") => {
            "ILIKE is a pattern match, which no B-tree answers; compare lower(email), and index that expression."
        }
        Call::Address { .. } => {
            "The predicate is on an expression, and an index on the bare column knows nothing about it; index \
                          that expression."
        }
        _ if whole_table && has("(status)::text") => {
            "An index on status knows nothing about status::text; compare the enum with an enum."
        }
        _ if whole_table && has(")::user_status") => {
            "The planner cannot prove that a text, cast while the statement runs, equals 'active', and so it cannot use a \
             partial index; write the literal or bind the typed enum."
        }
        _ if whole_table && has("status = $") => {
            "A plan for all values knows none of them: a parameter may be any status, which proves nothing to a partial \
             index; a literal does."
        }
        _ if plan.lines().any(is_forbidden) => {
            "A sequential scan is chosen though sequential scans are forbidden, which makes them dear and not impossible: no \
             index leads to these rows."
        }
        _ if whole_table => {
            "No index leads to these rows, so the whole table is read: an index pays when it holds the columns that are \
             compared for equality, and then the order."
        }
        _ if has("BitmapAnd") => "BitmapAnd still fetches and sorts every match.",
        _ if conditions("status") && !conditions("region") => {
            "It finds all active users of every region, then throws most of them away."
        }
        _ if conditions("region") && !conditions("status") => "One fifth of the table is still read.",
        _ if has("Sort Key:") && conditions("region") => {
            "Right filter columns, but ORDER BY … LIMIT needs created_at in the index: every match is fetched and sorted."
        }
        _ if has("Rows Removed by Filter") => {
            "The index gives the order and not the users: everybody else is read on the way and thrown away."
        }
        _ => "The statement reads far more than the call gives back.",
    }
}

/// Whether the planner took a sequential scan that it was told not to take: PostgreSQL adds 10^10 to its cost.
fn is_forbidden(line: &str) -> bool {
    let cost = line
        .split_once("(cost=")
        .and_then(|(_, cost)| cost.split_once('.'));
    line.contains("Seq Scan on ") && cost.is_some_and(|(units, _)| units.len() > 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: Call<'_> = Call::Page {
        region: "eu",
        after: None,
    };
    const EMAIL: Call<'_> = Call::Address { emails: &[] };

    #[test]
    fn a_plan_tells_what_its_author_believed() {
        let sort = "Limit\n  ->  Sort\n    Sort Key: created_at DESC, id DESC\n";
        for (call, plan, told) in [
            (
                PAGE,
                "->  Seq Scan on users\n  Filter: ((region = 'eu'::text) AND (status = ('active'::cstring)::user_status))",
                "cannot prove",
            ),
            (
                PAGE,
                "->  Seq Scan on users\n  Filter: ((region = 'eu'::text) AND ((status)::text = 'active'::text))",
                "status::text",
            ),
            (
                PAGE,
                "->  Seq Scan on users\n  Filter: ((region = 'eu'::text) AND (status = 'active'::user_status))",
                "No index leads",
            ),
            (
                PAGE,
                "->  BitmapAnd\n  ->  Bitmap Index Scan\n Index Cond: (region = 'eu'::text)",
                "BitmapAnd",
            ),
            (
                PAGE,
                "->  Bitmap Index Scan on i\n Index Cond: (status = 'active'::user_status)",
                "every region",
            ),
            (
                PAGE,
                "->  Bitmap Index Scan on i\n Index Cond: (region = 'eu'::text)",
                "One fifth",
            ),
            (
                PAGE,
                "->  Index Scan using i\n  Filter: (region = 'eu'::text)\n  Rows Removed by Filter: 1651",
                "gives the order",
            ),
            (
                PAGE,
                "Query Text: SELECT\nSort  (cost=1..2)\n  Sort Key: created_at DESC\n  ->  Bitmap Heap Scan on users",
                "LIMIT, and where to go on",
            ),
            (
                PAGE,
                "Limit  (cost=1..2)\n  ->  Sort\n Sort Key: created_at\n  ->  Index Scan using users_pkey on users\n  \
                 Filter: (region = 'eu'::text)\n  Rows Removed by Filter: 496976",
                "forbidden",
            ),
            (
                PAGE,
                "->  Parallel Seq Scan on users  (cost=10000000000.00..10000016268.60 rows=960 width=204)\n  Filter: ((region \
                 = 'eu'::text) AND (status = 'active'::user_status))",
                "though sequential scans are forbidden",
            ),
            (
                Call::Bio { ids: &[] },
                "Update on users\n  ->  Index Scan using users_pkey on users\n  Index Cond: (id = '2890'::bigint)",
                "have to be changed with the row",
            ),
            (
                PAGE,
                "->  Seq Scan on users\n  Filter: ((region = $1) AND (status = $2))",
                "A plan for all values",
            ),
            (
                Call::Bio { ids: &[] },
                "Update on users\n  ->  Seq Scan on users\n  Filter: (id = $1)",
                "primary key",
            ),
            (
                EMAIL,
                "->  Seq Scan on users\n  Filter: (lower(email) = 'a@b.c'::text)",
                "index that expression",
            ),
            (
                EMAIL,
                "->  Seq Scan on users\n  Filter: (email ~~* 'a@b.c'::text)",
                "ILIKE",
            ),
        ] {
            assert!(
                of_plan(call, plan).contains(told),
                "{plan}\n{}",
                of_plan(call, plan)
            );
        }
        let both = format!(
            "{sort}->  Bitmap Index Scan on i\n Index Cond: ((region = 'eu'::text) AND (status = 'active'::user_status))"
        );
        assert!(of_plan(PAGE, &both).contains("ORDER BY … LIMIT needs created_at"));
    }
}
