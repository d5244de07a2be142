//! Making template databases: once, as an owner without privileges, kept for later runs.

use std::hash::{DefaultHasher, Hash, Hasher};

use pgwire::{Client, Config};

use crate::endpoint::Endpoint;
use crate::{Error, secret};

/// The role that runs seeds and owns what they make.
pub(crate) const OWNER: &str = "war_stories_seed";

/// A template database to be made, or taken from the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostgresSeed {
    /// Name of the template database: letters, digits and underscores.
    pub name: String,
    /// What makes it, in one go, as `war_stories_seed`, who owns the database and nothing else. `:rows` is replaced
    /// already. No `COPY … FROM STDIN`, and nothing that refuses to run inside a transaction.
    pub sql: String,
}

impl PostgresSeed {
    /// Stands for the seed in cache keys.
    pub(crate) fn fingerprint(&self) -> String {
        let mut hash = DefaultHasher::new();
        (&self.name, &self.sql).hash(&mut hash);
        format!("{:016x}", hash.finish())
    }

    /// The name goes into SQL and into lists, so it has to be a plain word.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let taken = ["postgres", "template0", "template1"].contains(&self.name.as_str());
        if self.name.is_empty() || self.name.len() > 63 || taken || !self.name.chars().all(plain) {
            let reason = "its name must be a new one, of letters, digits and underscores".to_owned();
            return Err(Error::Seed {
                template: self.name.clone(),
                reason,
            });
        }
        Ok(())
    }
}

/// Extensions that every database is to have, where the server has them (`pg_walinspect` since PostgreSQL 15).
const EXTENSIONS: &str = "\
DO $$ DECLARE e text; BEGIN
  FOR e IN SELECT name FROM pg_available_extensions WHERE name IN ('pg_stat_statements', 'pg_walinspect') LOOP
    EXECUTE format('CREATE EXTENSION IF NOT EXISTS %I', e);
  END LOOP;
END $$";

/// Turns a server that `initdb` left into one of ours: roles, extensions, and who may come in how.
pub(crate) async fn prepare(endpoint: &Endpoint) -> Result<(), Error> {
    // Members of the group are asked by MD5, see `Endpoint::BOUNCED_ROLES`; all others in clear text.
    let group = Endpoint::BOUNCED_ROLES;
    let roles = format!(
        "CREATE ROLE {group} NOLOGIN;
         CREATE ROLE {OWNER} NOLOGIN;
         DO $$ BEGIN
           EXECUTE format(
             'COPY (SELECT unnest(ARRAY[''host all +{group} all md5'', ''host all all all password''])) TO %L',
             current_setting('hba_file'));
         END $$;
         SELECT pg_reload_conf()"
    );
    for (database, sql) in [
        ("postgres", EXTENSIONS),
        ("template1", EXTENSIONS),
        ("postgres", &roles),
    ] {
        let mut client = admin(endpoint, database)
            .await
            .map_err(|reason| refused("the cluster", reason))?;
        client
            .query(sql)
            .await
            .map_err(|error| refused("the cluster", error.to_string()))?;
        close(client).await;
    }
    Ok(())
}

/// Makes the template database of one seed.
pub(crate) async fn plant(endpoint: &Endpoint, seed: &PostgresSeed) -> Result<(), Error> {
    let name = &seed.name;
    let refused = |reason: String| refused(name, reason);
    let password = secret::password();
    let mut boss = admin(endpoint, "postgres").await.map_err(refused)?;
    for sql in [
        format!("ALTER ROLE {OWNER} LOGIN PASSWORD '{password}'"),
        format!("CREATE DATABASE \"{name}\" OWNER {OWNER} TEMPLATE template1"),
    ] {
        boss.query(&sql)
            .await
            .map_err(|error| refused(error.to_string()))?;
    }

    let config = Config {
        user: OWNER.to_owned(),
        password,
        ..config(endpoint, name)
    };
    let mut owner = Client::connect(&config)
        .await
        .map_err(|error| refused(error.to_string()))?;
    owner
        .query(&seed.sql)
        .await
        .map_err(|error| refused(error.to_string()))?;
    close(owner).await;

    // Vacuumed by the superuser, so that the catalogs are too and plans do not depend on when it was seeded.
    let mut inside = admin(endpoint, name).await.map_err(refused)?;
    inside
        .query("VACUUM (ANALYZE)")
        .await
        .map_err(|error| refused(error.to_string()))?;
    close(inside).await;
    for sql in [
        format!("ALTER DATABASE \"{name}\" IS_TEMPLATE true"),
        format!("ALTER ROLE {OWNER} NOLOGIN PASSWORD NULL"),
    ] {
        boss.query(&sql)
            .await
            .map_err(|error| refused(error.to_string()))?;
    }
    close(boss).await;
    Ok(())
}

async fn admin(endpoint: &Endpoint, database: &str) -> Result<Client, String> {
    Client::connect(&config(endpoint, database))
        .await
        .map_err(|error| error.to_string())
}

fn config(endpoint: &Endpoint, database: &str) -> Config {
    endpoint.admin(database).expect("it is PostgreSQL")
}

/// A database can only be copied once nobody is in it, so goodbyes are waited for.
async fn close(client: Client) {
    let _ = client.close().await;
}

fn refused(template: &str, reason: String) -> Error {
    Error::Seed {
        template: template.to_owned(),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn seed(name: &str, sql: &str) -> PostgresSeed {
        PostgresSeed {
            name: name.to_owned(),
            sql: sql.to_owned(),
        }
    }

    #[rstest]
    #[case("people", true)]
    #[case("people_2", true)]
    #[case("", false)]
    #[case("template1", false)]
    #[case("a b", false)]
    #[case("a\"; DROP DATABASE postgres; --", false)]
    fn names_are_plain_words(#[case] name: &str, #[case] fine: bool) {
        assert_eq!(seed(name, "").check().is_ok(), fine);
    }

    #[test]
    fn a_fingerprint_follows_name_and_text() {
        assert_eq!(seed("a", "b").fingerprint(), seed("a", "b").fingerprint());
        assert_ne!(seed("a", "b").fingerprint(), seed("a", "c").fingerprint());
        assert_ne!(seed("ab", "c").fingerprint(), seed("a", "bc").fingerprint());
    }
}
