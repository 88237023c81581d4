//! The options of `provider add` that say how tokens are refreshed.

use clap::{Args, ValueEnum};
use jiff::{Span, SpanRelativeTo};

use crate::domain::{ClientAuth, DEFAULT_MARGIN_SECONDS, Provider, ProviderKind, RefreshSettings, Rotation};

#[derive(Debug, Args)]
pub(super) struct RefreshOptions {
    /// Refresh: whether each refresh replaces the refresh token
    #[arg(long, value_enum, default_value = "observed", value_name = "WHEN")]
    rotation: Rotates,
    /// Refresh: how long after a rotation the provider still takes the old refresh token, such as 30s
    #[arg(long, value_name = "TIME", value_parser = seconds::<u32>)]
    reuse_window: Option<u32>,
    /// Refresh: how long before its end an access token is refreshed; 5m by default, never more than a quarter of its life
    #[arg(long, value_name = "TIME", value_parser = seconds::<u32>)]
    refresh_margin: Option<u32>,
    /// Refresh: how long an unused refresh token lives, such as 90d; the vault uses it before that
    #[arg(long, value_name = "TIME", value_parser = seconds::<u64>)]
    refresh_idle: Option<u64>,
    /// Refresh: life of access tokens, such as 1h, for a provider that does not say
    #[arg(long, value_name = "TIME", value_parser = seconds::<u64>)]
    assumed_lifetime: Option<u64>,
    /// Refresh: a further form member that the provider wants; may be given several times. It is shown: nothing secret
    #[arg(long, value_name = "NAME=VALUE", value_parser = member)]
    refresh_param: Vec<(String, String)>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Auth {
    /// Id and secret in the form
    Post,
    /// HTTP Basic
    Basic,
    /// A public client without a secret
    None,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Rotates {
    /// As each grant's last refresh did
    Observed,
    /// Refresh tokens stay
    Never,
    /// Each one is good for one use
    Always,
}

impl From<Auth> for ClientAuth {
    fn from(auth: Auth) -> Self {
        match auth {
            Auth::Post => Self::Post,
            Auth::Basic => Self::Basic,
            Auth::None => Self::None,
        }
    }
}

impl RefreshOptions {
    pub(super) fn settings(self) -> RefreshSettings {
        RefreshSettings {
            margin_seconds: self.refresh_margin,
            rotation: match self.rotation {
                Rotates::Observed => Rotation::Observed,
                Rotates::Never => Rotation::Never,
                Rotates::Always => Rotation::Always,
            },
            reuse_window_seconds: self.reuse_window,
            idle_seconds: self.refresh_idle,
            assumed_lifetime_seconds: self.assumed_lifetime,
            extra: self.refresh_param.into_iter().collect(),
            url: None,
        }
    }
}

/// A length of time as jiff reads it (`30s`, `1h 30m`, `90d`, `PT5M`), in whole seconds. A day has 24 hours.
fn seconds<T: TryFrom<i64>>(text: &str) -> Result<T, String> {
    let length =
        text.parse::<Span>().and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours())).ok();
    length
        .filter(|length| length.subsec_nanos() == 0)
        .and_then(|length| T::try_from(length.as_secs()).ok())
        .ok_or_else(|| "must be a length of time in whole seconds, such as 30s, 5m, 12h or 90d".to_owned())
}

pub(super) fn member(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("must be NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// How the provider's tokens are refreshed, in one line; `None` where there is nothing to refresh.
pub(super) fn described(provider: &Provider) -> Option<String> {
    if provider.kind != ProviderKind::OAuth {
        return None;
    }
    let Some(refreshing) = provider.refreshing() else {
        return Some("never: that needs --token-url and --client-id".to_owned());
    };
    let settings = refreshing.settings;
    let margin = settings.margin_seconds.unwrap_or(DEFAULT_MARGIN_SECONDS);
    let auth = match refreshing.client_auth {
        ClientAuth::Post => "secret in the form",
        ClientAuth::Basic => "HTTP Basic",
        ClientAuth::None => "public client",
    };
    let rotation = match settings.rotation {
        Rotation::Observed => "as observed",
        Rotation::Never => "never",
        Rotation::Always => "always",
    };
    let mut line =
        format!("{margin} s before the end at {} ({auth}); rotation {rotation}", refreshing.token_url);
    let further = [
        ("reuse window", settings.reuse_window_seconds.map(u64::from)),
        ("unused tokens die after", settings.idle_seconds),
        ("assumed lifetime", settings.assumed_lifetime_seconds),
    ];
    for (what, seconds) in further {
        if let Some(seconds) = seconds {
            line.push_str(&format!("; {what} {seconds} s"));
        }
    }
    for name in settings.extra.keys() {
        line.push_str(&format!("; with {name}"));
    }
    Some(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_whole_seconds() {
        for (text, read) in [
            ("30s", Some(30_u32)),
            ("5m", Some(300)),
            ("1h 30m", Some(5_400)),
            ("90d", Some(7_776_000)),
            ("2w", Some(1_209_600)),
            ("PT5M", Some(300)),
            ("0s", Some(0)),
            ("30", None),
            ("", None),
            ("-5s", None),
            ("1.5s", None),
            ("10ms", None),
            ("1 month", None),
            ("200 years", None),
        ] {
            assert_eq!(seconds::<u32>(text).ok(), read, "{text:?}");
        }
    }
}
