//! Why something that was asked for is not done, before it is known who asks: a program or a page's form.

use std::fmt::Display;

use hyper::StatusCode;

use crate::http::core::reply::{self, Reply};
use crate::services::config_manager::ChangeError;
use crate::store::StoreError;

/// Why something is not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    /// As which it is answered.
    pub status: StatusCode,
    /// The field, what is wrong with it, and what would be right.
    pub why: String,
    /// The field alone, where it is one: `why` begins with it.
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

    /// That it is about this field, with whose name it begins.
    #[must_use]
    pub(crate) fn about(mut self, field: &str) -> Self {
        self.field = Some(field.to_owned()).filter(|field| !field.is_empty());
        self
    }

    /// What was asked for is wrong.
    pub(crate) fn bad(why: impl Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, why)
    }

    /// It may be asked for again later.
    pub(crate) fn unavailable(why: impl Display) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, why)
    }

    /// The answer to a program.
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
