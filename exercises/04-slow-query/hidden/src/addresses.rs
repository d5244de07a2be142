//! Looking users up by their address.

use harness::{Check, Failure, OrObserved, Outcome, ensure};

use crate::stage::Stage;
use crate::subject::{Directory, User};

/// Each has something that means more than itself to somebody: to LIKE, to a regular expression, to a string literal.
const SOMEBODYS: [&str; 6] = [
    "Ann.Lee+Tag@Example.com",
    "snakeXcase@example.com",
    "100percent@example.com",
    "Q@Sub.Example.org",
    "Pat.O'Hara@Example.com",
    r"back\Slash@example.com",
];

const NOBODYS: [&str; 9] = [
    "snake_case@example.com",
    "%percent@example.com",
    "ann.lee+tag@example.co",
    "ann-lee+tag@example.com",
    r"back\\slash@example.com",
    "' OR email <> '",
    "%",
    "",
    " twin@example.com",
];

pub async fn match_whole_and_in_any_case(cx: &Check, stage: &mut Stage) -> Outcome {
    let directory = stage.replica(2).await?;
    let mut ids = Vec::new();
    for address in SOMEBODYS {
        ids.push(stage.sign_up("eu", address).await?);
    }
    twins(stage, &directory).await?;
    for asked in NOBODYS {
        let found = find(&directory, asked).await?;
        let because = if asked.contains('\'') {
            "What is pasted into a statement becomes part of it: bind values, or quote them."
        } else {
            "Whole addresses are compared: LIKE and ILIKE read `_`, `%` and `\\` as more than themselves."
        };
        ensure!(
            found.is_none(),
            because,
            "`{asked}`, which nobody has, found {found:?}"
        );
    }
    let mut rng = cx.rng("capitals");
    for (address, id) in SOMEBODYS.into_iter().zip(ids) {
        let mixed = address.chars().map(|c| {
            if rng.bool() {
                c.to_ascii_uppercase()
            } else {
                c.to_ascii_lowercase()
            }
        });
        let mixed: String = mixed.collect();
        for asked in [address, &address.to_uppercase(), &address.to_lowercase(), &mixed] {
            let found = find(&directory, asked).await?;
            ensure!(
                found.as_ref().is_some_and(|user| user.id == id),
                "Letters are compared without regard to case, on both sides, and everything else as it is.",
                "`{asked}` found {found:?}; user {id} has `{address}`"
            );
        }
    }
    Ok(())
}

/// Two people with one address.
async fn twins(stage: &mut Stage, directory: &Directory) -> Outcome {
    const ANYBODY: &str =
        "Addresses are not unique: any user who has it will do, and nobody is kept from signing up.";
    for (region, address) in [("eu", "twin@example.com"), ("us", "Twin@Example.com")] {
        let signed_up = stage.sign_up(region, address).await;
        signed_up.map_err(|failure| failure.because(ANYBODY))?;
    }
    let found = find(directory, "TWIN@example.com").await?;
    ensure!(
        found
            .as_ref()
            .is_some_and(|user| user.email.eq_ignore_ascii_case("twin@example.com")),
        ANYBODY,
        "`TWIN@example.com`, of which there are two, found {found:?}"
    );
    Ok(())
}

async fn find(directory: &Directory, address: &str) -> Result<Option<User>, Failure> {
    directory
        .find_by_email(address)
        .await
        .or_observed(format_args!("find_by_email failed on `{address}`"))
}
