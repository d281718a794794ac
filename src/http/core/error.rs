//! Errors of handlers, for both API responses and portal forms.

use std::fmt::Display;

use hyper::StatusCode;

use crate::http::core::reply::{self, Reply};
use crate::services::config_manager::ChangeError;
use crate::store::StoreError;

/// An error of a handler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub status: StatusCode,
    /// What is wrong and how to fix it. Begins with the field, if there is one.
    pub why: String,
    /// The field of the request that is wrong.
    pub field: Option<String>,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, why: impl Display) -> Self {
        Self {
            status,
            why: why.to_string(),
            field: None,
        }
    }

    /// Sets the field, with which the message begins.
    #[must_use]
    pub(crate) fn about(mut self, field: &str) -> Self {
        self.field = Some(field.to_owned()).filter(|field| !field.is_empty());
        self
    }

    /// 400: the request is invalid.
    pub(crate) fn bad(why: impl Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, why)
    }

    /// 503: the client may retry later.
    pub(crate) fn unavailable(why: impl Display) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, why)
    }

    /// Returns the API response.
    pub(crate) fn reply(&self) -> Reply {
        let field = self.field.as_deref();
        let alone = field.and_then(|field| self.why.strip_prefix(field)?.strip_prefix(": "));
        match alone {
            Some(why) => reply::error_at(self.status, field, why),
            None => reply::error(self.status, &self.why),
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(e: StoreError) -> Self {
        Self::new(reply::status_of(&e), e)
    }
}

impl From<ChangeError> for ApiError {
    fn from(e: ChangeError) -> Self {
        match e {
            ChangeError::Typed(e) => Self::bad(&e).about(e.field.as_deref().unwrap_or_default()),
            ChangeError::Renamed(..) => Self::bad(e),
            ChangeError::Provisioned(..) => Self::new(StatusCode::CONFLICT, e),
            ChangeError::Store(e) => e.into(),
        }
    }
}
