//! What the environment says of hubs: where they are, where their files are kept, who asks, and through which proxy.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::address::Hub;
use super::proxy::Proxies;
use crate::error::{Problem, Result};

const HUGGING_FACE: &str = "https://huggingface.co";
const MODEL_SCOPE: &str = "https://modelscope.cn";
/// As huggingface_hub waits by default.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A hub: its address, without a slash at its end; the folder that its files are kept in; and a token for it.
#[derive(Debug, Clone)]
pub struct Site {
    pub hub: Hub,
    pub endpoint: String,
    pub cache: PathBuf,
    pub token: Option<String>,
}

/// Everything that decides what goes out, and where it is kept.
#[derive(Debug, Clone)]
pub struct Settings {
    pub hugging_face: Site,
    pub model_scope: Site,
    /// Nothing goes out: what is not in the cache is missing.
    pub offline: bool,
    /// How long a server may be silent.
    pub timeout: Duration,
    /// The pause before the first repetition; the next ones are twice as long each.
    pub pause: Duration,
    pub proxies: Proxies,
    /// Where the certificates are that servers are known by, if the environment says so.
    pub certificates: Option<String>,
}

impl Settings {
    /// The hub of an address.
    pub(super) fn site(&self, hub: Hub) -> &Site {
        match hub {
            Hub::HuggingFace => &self.hugging_face,
            Hub::ModelScope => &self.model_scope,
        }
    }

    /// Those of the process.
    ///
    /// # Errors
    /// A variable holds no address of a server.
    pub fn from_environment() -> Result<Self> {
        Self::from(|name| std::env::var(name).ok())
    }

    /// Those of an environment. The names are those of `huggingface_hub` and `modelscope`, and so is what they mean; an empty
    /// variable is none.
    ///
    /// # Errors
    /// As [`Self::from_environment`].
    pub fn from(variable: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let text = |name: &str| variable(name).map(|text| text.trim().to_string()).filter(|text| !text.is_empty());
        let first = |names: &[&str]| names.iter().find_map(|name| text(name));
        let home = text("HOME").map(PathBuf::from).or_else(dirs::home_dir).unwrap_or_default();
        let path = |name: &str| text(name).map(|text| expanded(&text, &home));
        let cached = path("XDG_CACHE_HOME").unwrap_or_else(|| home.join(".cache"));
        let hf_home = path("HF_HOME").unwrap_or_else(|| cached.join("huggingface"));
        let token_file = path("HF_TOKEN_PATH").unwrap_or_else(|| hf_home.join("token"));
        let hugging_face = Site {
            hub: Hub::HuggingFace,
            endpoint: endpoint("HF_ENDPOINT", text("HF_ENDPOINT"), HUGGING_FACE)?,
            cache: path("HF_HUB_CACHE")
                .or_else(|| path("HUGGINGFACE_HUB_CACHE"))
                .unwrap_or_else(|| hf_home.join("hub")),
            token: first(&["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"]).or_else(|| read_token(&token_file)),
        };
        // The newer variable goes before the older one; both may leave `https://` out.
        let named = ["MODELSCOPE_ENDPOINT", "MODELSCOPE_DOMAIN"].into_iter().find_map(|name| Some((name, text(name)?)));
        let (name, given) = named.map_or(("", None), |(name, given)| (name, Some(given)));
        let given = given.map(|given| if given.contains("://") { given } else { format!("https://{given}") });
        let model_scope = Site {
            hub: Hub::ModelScope,
            endpoint: endpoint(name, given, MODEL_SCOPE)?,
            cache: path("MODELSCOPE_CACHE").unwrap_or_else(|| home.join(".cache/modelscope")),
            token: text("MODELSCOPE_API_TOKEN"),
        };
        let offline = first(&["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"]).is_some_and(|text| is_true(&text));
        let seconds = text("HF_HUB_DOWNLOAD_TIMEOUT").and_then(|text| text.parse::<f64>().ok());
        let timeout = seconds.filter(|seconds| (0.001..1e6).contains(seconds)).map(Duration::from_secs_f64);
        Ok(Self {
            hugging_face,
            model_scope,
            offline,
            timeout: timeout.unwrap_or(TIMEOUT),
            pause: Duration::from_secs(1),
            proxies: Proxies {
                http: first(&["http_proxy", "HTTP_PROXY"]),
                https: first(&["https_proxy", "HTTPS_PROXY"]),
                all: first(&["all_proxy", "ALL_PROXY"]),
                none: first(&["no_proxy", "NO_PROXY"]).unwrap_or_default(),
            },
            certificates: first(&["SSL_CERT_FILE", "SSL_CERT_DIR"]),
        })
    }
}

/// A leading `~` is the user's home.
fn expanded(text: &str, home: &Path) -> PathBuf {
    match text.strip_prefix('~') {
        Some("") => home.to_path_buf(),
        Some(rest) if rest.starts_with('/') => home.join(rest.trim_start_matches('/')),
        _ => PathBuf::from(text),
    }
}

fn is_true(text: &str) -> bool {
    ["1", "ON", "YES", "TRUE"].iter().any(|word| text.eq_ignore_ascii_case(word))
}

/// What `hf auth login` has left; none where it cannot be read.
fn read_token(file: &Path) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    let token: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    Some(token.trim().to_string()).filter(|token| !token.is_empty())
}

fn endpoint(name: &str, given: Option<String>, default: &str) -> Result<String> {
    let given = given.unwrap_or_else(|| default.to_string());
    let host = ["https://", "http://"].iter().find_map(|scheme| given.strip_prefix(scheme));
    if host.is_none_or(|host| host.is_empty() || host.starts_with('/') || host.contains(char::is_whitespace)) {
        let problem = Problem::new(format!("the variable {name} is `{given}`, which is no address of a server"));
        return Err(problem.help(format!("such as {name}=https://hf-mirror.com")).into());
    }
    Ok(given.trim_end_matches('/').to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)]) -> Settings {
        let all: Vec<_> = [("HOME", "/home/x")].iter().chain(variables).copied().collect();
        let of = |name: &str| all.iter().rev().find(|(key, _)| *key == name).map(|(_, value)| value.to_string());
        Settings::from(of).unwrap()
    }

    #[test]
    fn caches_are_where_python_has_them() {
        let cache = |variables: &[(&str, &str)]| settings(variables).hugging_face.cache;
        assert_eq!(cache(&[]), Path::new("/home/x/.cache/huggingface/hub"));
        assert_eq!(cache(&[("XDG_CACHE_HOME", "/c")]), Path::new("/c/huggingface/hub"));
        assert_eq!(cache(&[("XDG_CACHE_HOME", "/c"), ("HF_HOME", "~/hf")]), Path::new("/home/x/hf/hub"));
        assert_eq!(cache(&[("HF_HOME", "/hf"), ("HF_HUB_CACHE", "/h")]), Path::new("/h"));
        assert_eq!(settings(&[]).model_scope.cache, Path::new("/home/x/.cache/modelscope"));
        assert_eq!(settings(&[("MODELSCOPE_CACHE", "/m")]).model_scope.cache, Path::new("/m"));
    }

    #[test]
    fn words_of_the_environment_mean_what_they_mean_to_python() {
        assert!(settings(&[("HF_HUB_OFFLINE", "1")]).offline && settings(&[("TRANSFORMERS_OFFLINE", "yes")]).offline);
        assert!(!settings(&[("HF_HUB_OFFLINE", "0")]).offline && !settings(&[("HF_HUB_OFFLINE", "")]).offline);
        assert_eq!(
            settings(&[("HF_ENDPOINT", "https://hf-mirror.com/")]).hugging_face.endpoint,
            "https://hf-mirror.com"
        );
        assert_eq!(settings(&[("HF_ENDPOINT", "")]).hugging_face.endpoint, HUGGING_FACE);
        assert_eq!(
            settings(&[("MODELSCOPE_DOMAIN", "www.modelscope.ai")]).model_scope.endpoint,
            "https://www.modelscope.ai"
        );
        assert_eq!(settings(&[("HF_TOKEN", " hf_x\n")]).hugging_face.token.as_deref(), Some("hf_x"));
        assert_eq!(settings(&[("HF_HUB_DOWNLOAD_TIMEOUT", "60")]).timeout, Duration::from_secs(60));
        let error = Settings::from(|name| (name == "HF_ENDPOINT").then(|| "hf-mirror.com".into())).unwrap_err();
        assert_eq!((error.exit_code(), error.to_string().contains("HF_ENDPOINT")), (2, true), "{error}");
    }
}
