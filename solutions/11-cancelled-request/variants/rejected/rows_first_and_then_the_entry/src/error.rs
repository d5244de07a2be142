//! What a client is told when there is no report.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use crate::engine::prices::PriceError;

#[derive(Debug)]
pub enum AppError {
    /// 400: the request can never succeed.
    Invalid(String),
    /// 502: there is no price for the market.
    Prices(PriceError),
    /// 503: no connection to the database was free in time.
    Busy,
    /// 503: the instance stops.
    Stopping,
    /// Given up: nobody is there to be told.
    Gone,
    /// 504: there was no report when its deadline was over.
    Late,
    /// 500: anything else.
    Failed(String),
}

impl IntoResponse for AppError {
    fn into_response(self) -> Response {
        let (status, words) = match self {
            AppError::Invalid(words) => (StatusCode::BAD_REQUEST, words),
            AppError::Prices(err) => (StatusCode::BAD_GATEWAY, err.to_string()),
            AppError::Busy => (StatusCode::SERVICE_UNAVAILABLE, "too busy, try again".to_owned()),
            AppError::Stopping | AppError::Gone => {
                (StatusCode::SERVICE_UNAVAILABLE, "the instance stops".to_owned())
            }
            AppError::Late => (StatusCode::GATEWAY_TIMEOUT, "not done in time".to_owned()),
            AppError::Failed(words) => (StatusCode::INTERNAL_SERVER_ERROR, words),
        };
        (status, words).into_response()
    }
}

impl From<sqlx::Error> for AppError {
    fn from(err: sqlx::Error) -> AppError {
        match err {
            sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed => AppError::Busy,
            err => AppError::Failed(format!("the database: {err}")),
        }
    }
}

impl From<PriceError> for AppError {
    fn from(err: PriceError) -> AppError {
        AppError::Prices(err)
    }
}

impl From<tokio::task::JoinError> for AppError {
    fn from(err: tokio::task::JoinError) -> AppError {
        AppError::Failed(err.to_string())
    }
}
