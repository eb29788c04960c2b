//! The FFI-stable types and their plain namesakes of `alknet-handler`, each from
//! the other. Both sides of the boundary use these; nothing here is part of the
//! layout.

use abi_stable::std_types::{ROption, RResult};
use alknet_handler as plain;

use crate::{
    CertificateQuery, HandlerError, Identity, IdentityResult, PluginError, Resource, StreamError,
};

impl From<Identity> for plain::Identity {
    fn from(identity: Identity) -> Self {
        let resources = identity.resources.into_iter().map(|resource| {
            let values = resource.values.into_iter().map(Into::into).collect();
            (resource.kind.into(), values)
        });
        Self {
            id: identity.id.into(),
            scopes: identity.scopes.into_iter().map(Into::into).collect(),
            resources: resources.collect(),
        }
    }
}

impl From<plain::Identity> for Identity {
    fn from(identity: plain::Identity) -> Self {
        let resources = identity.resources.into_iter();
        let resources = resources.map(|(kind, values)| Resource {
            kind: kind.into(),
            values: values.into_iter().map(Into::into).collect(),
        });
        Self {
            id: identity.id.into(),
            scopes: identity.scopes.into_iter().map(Into::into).collect(),
            resources: resources.collect(),
        }
    }
}

impl From<CertificateQuery> for plain::CertificateQuery {
    fn from(query: CertificateQuery) -> Self {
        Self {
            ca_fingerprint: query.ca_fingerprint.into(),
            key_id: query.key_id.into(),
            serial: query.serial,
            principals: query.principals.into_iter().map(Into::into).collect(),
            requested_user: query.requested_user.into(),
        }
    }
}

impl From<&plain::CertificateQuery> for CertificateQuery {
    fn from(query: &plain::CertificateQuery) -> Self {
        let principals = query.principals.iter();
        Self {
            ca_fingerprint: query.ca_fingerprint.as_str().into(),
            key_id: query.key_id.as_str().into(),
            serial: query.serial,
            principals: principals.map(|name| name.as_str().into()).collect(),
            requested_user: query.requested_user.as_str().into(),
        }
    }
}

/// What an identity store answered, as it crosses the boundary.
pub fn identity_result(
    answer: Result<Option<plain::Identity>, plain::IdentityError>,
) -> IdentityResult {
    match answer {
        Ok(identity) => RResult::ROk(identity.map(Into::into).into()),
        Err(error) => RResult::RErr(error.0.into()),
    }
}

/// What an identity store answered, as it came across the boundary.
///
/// # Errors
/// When the store could not answer.
pub fn from_identity_result(
    answer: IdentityResult,
) -> Result<Option<plain::Identity>, plain::IdentityError> {
    match answer {
        RResult::ROk(ROption::RSome(identity)) => Ok(Some(identity.into())),
        RResult::ROk(ROption::RNone) => Ok(None),
        RResult::RErr(message) => Err(plain::IdentityError(message.into())),
    }
}

impl From<StreamError> for plain::StreamError {
    fn from(error: StreamError) -> Self {
        match error {
            StreamError::ConnectionClosed => Self::ConnectionClosed,
            StreamError::StreamClosed => Self::StreamClosed,
            StreamError::Timeout => Self::Timeout,
            StreamError::Internal(message) => Self::Internal(message.into()),
        }
    }
}

impl From<plain::StreamError> for StreamError {
    fn from(error: plain::StreamError) -> Self {
        match error {
            plain::StreamError::ConnectionClosed => Self::ConnectionClosed,
            plain::StreamError::StreamClosed => Self::StreamClosed,
            plain::StreamError::Timeout => Self::Timeout,
            plain::StreamError::Internal(message) => Self::Internal(message.into()),
        }
    }
}

impl From<HandlerError> for plain::HandlerError {
    fn from(error: HandlerError) -> Self {
        match error {
            HandlerError::ConnectionClosed => Self::ConnectionClosed,
            HandlerError::StreamError(error) => Self::StreamError(error.into()),
            HandlerError::AuthRequired => Self::AuthRequired,
            HandlerError::Internal(message) => Self::Internal(message.into()),
        }
    }
}

impl From<plain::HandlerError> for HandlerError {
    fn from(error: plain::HandlerError) -> Self {
        match error {
            plain::HandlerError::ConnectionClosed => Self::ConnectionClosed,
            plain::HandlerError::StreamError(error) => Self::StreamError(error.into()),
            plain::HandlerError::AuthRequired => Self::AuthRequired,
            plain::HandlerError::Internal(message) => Self::Internal(message.into()),
        }
    }
}

impl From<plain::ConfigError> for PluginError {
    fn from(error: plain::ConfigError) -> Self {
        Self {
            pointer: error.pointer.into(),
            message: error.message.into(),
        }
    }
}
