//! The table, as far as the log needs it: strings under a partition key and a sort key.
//!
//! Reads are consistent: what was written before a read began is seen by it. A call is one request, but for `query` and
//! `count`, which follow the server's own pages, and `put_many` and `get_many`, which send as many keys as fit one request
//! each, all at once. Nothing is sent twice.

mod http;

use std::collections::HashMap;
use std::fmt;

use aws_credential_types::Credentials;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::{BehaviorVersion, Region};
use aws_sdk_dynamodb::error::{BuildError, ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, KeysAndAttributes,
    PutRequest, ScalarAttributeType, Select, WriteRequest,
};
use futures_util::future::try_join_all;

const PK: &str = "pk";
const SK: &str = "sk";
const VAL: &str = "val";

/// How many items one request may write, and how many it may read.
const PUTS_MAX: usize = 25;
const GETS_MAX: usize = 100;

/// Partition key and sort key.
pub type Key = (String, String);

/// An item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub pk: String,
    pub sk: String,
    pub val: String,
}

/// What [`PartStore::get_many`] got.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// In no order; what does not exist is missing.
    pub rows: Vec<Row>,
    /// Keys that the server left out because it was busy: nothing is known about them.
    pub unprocessed: Vec<Key>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// The request was refused: its partition's share of the capacity is spent.
    Throttled,
    /// The request failed, or its answer was lost: a write may have been done.
    Unavailable(String),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::Throttled => f.write_str("throttled"),
            StoreError::Unavailable(reason) => write!(f, "the store is unavailable: {reason}"),
        }
    }
}

impl std::error::Error for StoreError {}

#[derive(Clone, Debug)]
pub struct PartStore {
    client: Client,
    table: String,
}

impl PartStore {
    /// `endpoint` as in `http://127.0.0.1:8000`.
    pub fn connect(endpoint: &str, table: &str) -> PartStore {
        let config = aws_sdk_dynamodb::Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::from_static("eu-central-1"))
            .credentials_provider(Credentials::new("eventlog", "eventlog", None, None, "static"))
            .endpoint_url(endpoint)
            .http_client(http::client())
            // The callers of this service try again, and so do theirs.
            .retry_config(RetryConfig::standard().with_max_attempts(1))
            .build();
        PartStore {
            client: Client::from_conf(config),
            table: table.to_owned(),
        }
    }

    /// Makes the table, where operations have not: on a developer's machine.
    pub async fn create_table(&self) -> Result<(), StoreError> {
        let mut create = self.client.create_table().table_name(&self.table);
        for (name, kind) in [(PK, KeyType::Hash), (SK, KeyType::Range)] {
            let attribute = AttributeDefinition::builder()
                .attribute_name(name)
                .attribute_type(ScalarAttributeType::S)
                .build();
            let key = KeySchemaElement::builder()
                .attribute_name(name)
                .key_type(kind)
                .build();
            create = create
                .attribute_definitions(attribute.map_err(invalid)?)
                .key_schema(key.map_err(invalid)?);
        }
        let create = create.billing_mode(BillingMode::PayPerRequest);
        create.send().await.map_err(failed)?;
        Ok(())
    }

    /// Writes an item, whatever was there.
    pub async fn put(&self, pk: &str, sk: &str, val: &str) -> Result<(), StoreError> {
        let put = self.client.put_item().table_name(&self.table);
        let item = item(pk, sk, val);
        put.set_item(Some(item)).send().await.map_err(failed)?;
        Ok(())
    }

    /// Writes an item if what is there is `old`, or if nothing is there and `old` is `None`; tells whether it did.
    pub async fn cas(&self, pk: &str, sk: &str, old: Option<&str>, new: &str) -> Result<bool, StoreError> {
        let put = self.client.put_item().table_name(&self.table);
        let put = put
            .set_item(Some(item(pk, sk, new)))
            .expression_attribute_names("#val", VAL);
        let put = match old {
            Some(old) => put
                .condition_expression("#val = :old")
                .expression_attribute_values(":old", text(old)),
            None => put.condition_expression("attribute_not_exists(#val)"),
        };
        match put.send().await {
            Ok(_) => Ok(true),
            Err(error) if error.code() == Some("ConditionalCheckFailedException") => Ok(false),
            Err(error) => Err(failed(error)),
        }
    }

    /// Removes an item, if it is there.
    pub async fn delete(&self, pk: &str, sk: &str) -> Result<(), StoreError> {
        let delete = self.client.delete_item().table_name(&self.table);
        let delete = delete.key(PK, text(pk)).key(SK, text(sk));
        delete.send().await.map_err(failed)?;
        Ok(())
    }

    pub async fn get(&self, pk: &str, sk: &str) -> Result<Option<String>, StoreError> {
        let get = self.client.get_item().table_name(&self.table);
        let get = get.key(PK, text(pk)).key(SK, text(sk)).consistent_read(true);
        let got = get.send().await.map_err(failed)?;
        Ok(got.item.and_then(row).map(|row| row.val))
    }

    /// The items of a partition key in falling order of their sort keys: those below `after`, or from the highest on;
    /// `limit` at most.
    pub async fn query(&self, pk: &str, after: Option<&str>, limit: usize) -> Result<Vec<Row>, StoreError> {
        let mut rows = Vec::new();
        let mut from = None;
        while rows.len() < limit {
            let query = self.of(pk, after).scan_index_forward(false);
            let query = query.limit(i32::try_from(limit - rows.len()).unwrap_or(i32::MAX));
            let page = query.set_exclusive_start_key(from).send().await;
            let page = page.map_err(failed)?;
            rows.extend(page.items.unwrap_or_default().into_iter().filter_map(row));
            from = page.last_evaluated_key;
            if from.is_none() {
                break;
            }
        }
        Ok(rows)
    }

    /// How many items a partition key has. The server reads them all to tell.
    pub async fn count(&self, pk: &str) -> Result<u64, StoreError> {
        let (mut count, mut from) = (0, None);
        loop {
            let query = self.of(pk, None).select(Select::Count);
            let page = query.set_exclusive_start_key(from).send().await;
            let page = page.map_err(failed)?;
            count += u64::try_from(page.count).unwrap_or(0);
            from = page.last_evaluated_key;
            if from.is_none() {
                return Ok(count);
            }
        }
    }

    /// Writes many items, whatever was there, and returns those that the server left out because it was busy. When it
    /// fails, any of them may have been written.
    pub async fn put_many(&self, rows: &[Row]) -> Result<Vec<Row>, StoreError> {
        let chunks = rows.chunks(PUTS_MAX).map(|rows| async move {
            let puts = rows.iter().map(|row| {
                let put = PutRequest::builder().set_item(Some(item(&row.pk, &row.sk, &row.val)));
                put.build()
                    .map(|put| WriteRequest::builder().put_request(put).build())
            });
            let puts = puts.collect::<Result<Vec<_>, _>>().map_err(invalid)?;
            let write = self.client.batch_write_item().request_items(&self.table, puts);
            let left = write.send().await.map_err(failed)?.unprocessed_items;
            let left = left.unwrap_or_default().into_values().flatten();
            let items = left.filter_map(|write| write.put_request).map(|put| put.item);
            Ok(items.filter_map(row).collect::<Vec<_>>())
        });
        Ok(try_join_all(chunks).await?.into_iter().flatten().collect())
    }

    /// Reads many items. No key may come twice.
    pub async fn get_many(&self, keys: &[Key]) -> Result<Found, StoreError> {
        let chunks = keys.chunks(GETS_MAX).map(|keys| async move {
            let keys = keys
                .iter()
                .map(|(pk, sk)| HashMap::from([(PK.to_owned(), text(pk)), (SK.to_owned(), text(sk))]));
            let keys = KeysAndAttributes::builder().set_keys(Some(keys.collect()));
            let keys = keys.consistent_read(true).build().map_err(invalid)?;
            let get = self.client.batch_get_item().request_items(&self.table, keys);
            get.send().await.map_err(failed)
        });
        let mut found = Found::default();
        for answer in try_join_all(chunks).await? {
            let items = answer.responses.unwrap_or_default().into_values().flatten();
            found.rows.extend(items.filter_map(row));
            let left = answer.unprocessed_keys.unwrap_or_default().into_values();
            found
                .unprocessed
                .extend(left.flat_map(|keys| keys.keys).filter_map(key));
        }
        Ok(found)
    }

    fn of(&self, pk: &str, after: Option<&str>) -> QueryFluentBuilder {
        let query = self.client.query().table_name(&self.table).consistent_read(true);
        let query = query.expression_attribute_values(":pk", text(pk));
        match after {
            Some(after) => query
                .key_condition_expression("pk = :pk AND sk < :after")
                .expression_attribute_values(":after", text(after)),
            None => query.key_condition_expression("pk = :pk"),
        }
    }
}

fn text(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

fn item(pk: &str, sk: &str, val: &str) -> HashMap<String, AttributeValue> {
    [(PK, pk), (SK, sk), (VAL, val)]
        .map(|(name, value)| (name.to_owned(), text(value)))
        .into()
}

fn row(mut item: HashMap<String, AttributeValue>) -> Option<Row> {
    let mut take = |name| match item.remove(name) {
        Some(AttributeValue::S(text)) => Some(text),
        _ => None,
    };
    Some(Row {
        pk: take(PK)?,
        sk: take(SK)?,
        val: take(VAL)?,
    })
}

fn key(mut key: HashMap<String, AttributeValue>) -> Option<Key> {
    let mut take = |name| match key.remove(name) {
        Some(AttributeValue::S(text)) => Some(text),
        _ => None,
    };
    Some((take(PK)?, take(SK)?))
}

fn invalid(error: BuildError) -> StoreError {
    StoreError::Unavailable(error.to_string())
}

fn failed<E: ProvideErrorMetadata + fmt::Debug, R: fmt::Debug>(error: SdkError<E, R>) -> StoreError {
    match error.code() {
        Some("ProvisionedThroughputExceededException" | "ThrottlingException" | "RequestLimitExceeded") => {
            StoreError::Throttled
        }
        Some(code) => StoreError::Unavailable(code.to_owned()),
        None => StoreError::Unavailable(error.to_string()),
    }
}
