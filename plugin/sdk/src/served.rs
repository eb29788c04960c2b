//! What the SDK does for a [`Handler`], so that it is a [`ProtocolHandler`].

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use alknet_control::{ConfigVerdict, ControlRequest, Refused, SessionList};
use alknet_handler::{
    AuthContext, BoxFuture, ConfigError, Connection, HandlerError, ProtocolHandler,
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::connections::Connections;
use crate::metrics::Metrics;
use crate::{Handler, LiveConfig, PluginConfig, PluginSecrets, Setup, parse_config};

/// Makes the handler of an author who wrote `H`.
///
/// # Errors
/// What it says, and metrics that the node would leave out.
pub fn serve<H, C, S>(setup: Setup<C, S>) -> Result<Arc<dyn ProtocolHandler>, ConfigError>
where
    H: Handler<C, S>,
    C: PluginConfig,
    S: PluginSecrets,
{
    H::check(&setup.config.get())?;
    let (config, metrics) = (setup.config.clone(), setup.metrics.clone());
    let handler = Arc::new(H::new(setup)?);
    metrics.check()?;
    Ok(Arc::new(Served {
        handler,
        config,
        metrics,
        connections: Arc::default(),
        secrets: PhantomData::<fn() -> S>,
    }))
}

struct Served<H, C, S> {
    handler: Arc<H>,
    config: LiveConfig<C>,
    metrics: Metrics,
    connections: Arc<Connections>,
    secrets: PhantomData<fn() -> S>,
}

impl<H: Handler<C, S>, C: PluginConfig, S: PluginSecrets> Served<H, C, S> {
    fn parse(config: &str) -> Result<C, ConfigError> {
        let config = parse_config(config)?;
        H::check(&config)?;
        Ok(config)
    }

    fn answer(&self, request: &str) -> Result<Value, ConfigError> {
        let request: Value = serde_json::from_str(request)
            .map_err(|error| ConfigError::new(format!("the request is not JSON: {error}")))?;
        match ControlRequest::deserialize(&request) {
            Ok(ControlRequest::IdentitiesChanged {}) => {
                self.handler.identities_changed();
                Ok(json!({}))
            }
            Ok(ControlRequest::CheckConfig { config }) => {
                let refused = Self::parse(&config.to_string()).err();
                let refused =
                    refused.map(|ConfigError { pointer, message }| Refused { pointer, message });
                Ok(json!(ConfigVerdict { refused }))
            }
            Ok(ControlRequest::Sessions {}) => {
                let sessions = self.connections.list();
                Ok(json!(SessionList { sessions }))
            }
            Ok(ControlRequest::CloseSession { id }) => match self.connections.end(id) {
                true => Ok(json!({})),
                false => Err(ConfigError::at("/id", "there is no such connection")),
            },
            Ok(ControlRequest::Replaced { .. }) => Ok(json!({})),
            _ => {
                let command = request.get("command").and_then(Value::as_str);
                self.handler.control(command.unwrap_or_default(), &request)
            }
        }
    }
}

impl<H: Handler<C, S>, C: PluginConfig, S: PluginSecrets> ProtocolHandler for Served<H, C, S> {
    fn handle(
        &self,
        connection: Arc<dyn Connection>,
        auth: AuthContext,
    ) -> BoxFuture<'static, Result<(), HandlerError>> {
        let Some(live) = self.connections.open(&auth) else {
            return Box::pin(std::future::ready(Err(HandlerError::ConnectionClosed)));
        };
        let handler = Arc::clone(&self.handler);
        Box::pin(async move {
            let served = handler.serve(Arc::clone(&connection), auth);
            match live.run(served).await {
                Some(outcome) => outcome,
                None => {
                    connection.close(0, "the plugin ends");
                    Ok(())
                }
            }
        })
    }

    fn reconfigure(&self, config: &str) -> Result<(), ConfigError> {
        self.config.replace(Self::parse(config)?);
        Ok(())
    }

    fn drain(&self, deadline: Duration) -> BoxFuture<'static, ()> {
        let connections = Arc::clone(&self.connections);
        Box::pin(async move { connections.drain(deadline).await })
    }

    fn status(&self) -> String {
        let mut status = self.handler.status();
        let live = self.connections.count();
        for (name, value) in [
            ("draining", self.connections.is_draining().into()),
            ("connections", live.into()),
            ("connections_total", self.connections.total().into()),
            ("sessions", live.into()),
            ("metrics", self.metrics.to_json()),
        ] {
            status.insert(name.to_owned(), value);
        }
        Value::Object(status).to_string()
    }

    fn control(&self, request: &str) -> Result<String, ConfigError> {
        self.answer(request).map(|answer| answer.to_string())
    }
}
