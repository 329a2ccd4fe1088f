//! Addresses of repositories: `hf://OWNER/NAME[@REVISION]` and `modelscope://OWNER/NAME[@REVISION]`.

use std::fmt;
use std::path::Path;

/// A place that holds repositories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hub {
    /// huggingface.co, or a mirror of it.
    HuggingFace,
    /// modelscope.cn.
    ModelScope,
}

impl Hub {
    const ALL: [Self; 2] = [Self::HuggingFace, Self::ModelScope];

    /// What an address begins with.
    fn prefix(self) -> &'static str {
        match self {
            Self::HuggingFace => "hf://",
            Self::ModelScope => "modelscope://",
        }
    }

    /// The branch that an address without a revision means.
    pub(super) fn branch(self) -> &'static str {
        match self {
            Self::HuggingFace => "main",
            Self::ModelScope => "master",
        }
    }
}

/// What a repository holds: models and datasets have names of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Model,
    Dataset,
}

impl Kind {
    /// As hubs spell it in paths.
    pub(super) fn plural(self) -> &'static str {
        match self {
            Self::Model => "models",
            Self::Dataset => "datasets",
        }
    }
}

/// What is wrong with an address, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    pub what: String,
    pub help: &'static str,
}

/// A repository, and a revision of it if one is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    pub hub: Hub,
    pub kind: Kind,
    pub owner: String,
    pub name: String,
    /// A branch, a tag or a commit.
    pub revision: Option<String>,
}

const FORM: &str = "hf://OWNER/NAME or hf://OWNER/NAME@REVISION, such as hf://google/rembert; modelscope:// likewise";
/// Longest owner, name and revision.
const LONGEST: usize = 96;
const LONGEST_REVISION: usize = 200;

impl Address {
    /// The address that a path of a recipe or an argument is; nothing where it is a path. What exists is a path, however it is called.
    ///
    /// # Errors
    /// It begins as an address does and is none.
    pub fn of(path: &Path, kind: Kind) -> Result<Option<Self>, Wrong> {
        match path.to_str() {
            Some(text) if !path.exists() => Self::parse(text, kind),
            _ => Ok(None),
        }
    }

    /// Reads an address; nothing where the text does not begin as one. Hugging Face's own way of naming datasets,
    /// `hf://datasets/OWNER/NAME`, is understood.
    ///
    /// # Errors
    /// It begins as an address does and is none, or is one of another kind.
    pub fn parse(text: &str, kind: Kind) -> Result<Option<Self>, Wrong> {
        let wrong = |what: String, help| Err(Wrong { what: format!("`{}` {what}", shortened(text)), help });
        if text.starts_with("https://") || text.starts_with("http://") {
            return wrong("is the address of a page".into(), FORM);
        }
        let found = Hub::ALL.into_iter().find_map(|hub| Some((hub, text.strip_prefix(hub.prefix())?)));
        let Some((hub, rest)) = found else { return Ok(None) };
        let (repository, revision) = match rest.split_once('@') {
            Some((repository, revision)) => (repository, Some(revision)),
            None => (rest, None),
        };
        let parts: Vec<&str> = repository.split('/').collect();
        let (own, owner, name) = match parts[..] {
            ["models", owner, name] => (Kind::Model, owner, name),
            ["datasets", owner, name] => (Kind::Dataset, owner, name),
            [owner, name] => (kind, owner, name),
            [_] => return wrong("names no owner".into(), FORM),
            _ => return wrong("does not name a whole repository".into(), FORM),
        };
        if own != kind {
            let (what, help) = match kind {
                Kind::Model => ("is a repository of data, not of a model", "data.root takes repositories of data"),
                Kind::Dataset => ("is a repository of a model, not of data", "model.weights takes models"),
            };
            return wrong(what.into(), help);
        }
        for (part, called) in [(owner, "owner"), (name, "name")] {
            if let Some(why) = unfit(part) {
                return wrong(format!("has the {called} `{}`, {why}", shortened(part)), FORM);
            }
        }
        if let Some(why) = revision.and_then(unfit_revision) {
            let help = "a branch, a tag or a commit: hf://google/rembert@main";
            return wrong(format!("has a revision that {why}"), help);
        }
        let [owner, name] = [owner, name].map(str::to_string);
        Ok(Some(Self { hub, kind, owner, name, revision: revision.map(str::to_string) }))
    }

    /// OWNER/NAME.
    pub fn id(&self) -> String {
        format!("{}/{}", self.owner, self.name)
    }

    /// The same repository at another revision.
    pub fn at(&self, revision: &str) -> Self {
        Self { revision: Some(revision.to_string()), ..self.clone() }
    }

    /// Whether both are of one repository.
    pub fn is_same_repository(&self, other: &Self) -> bool {
        (self.hub, self.kind, &self.owner, &self.name) == (other.hub, other.kind, &other.owner, &other.name)
    }

    /// The revision that is meant.
    pub(super) fn revision_or_branch(&self) -> &str {
        self.revision.as_deref().unwrap_or_else(|| self.hub.branch())
    }

    /// The commit, where the address names one.
    pub fn commit(&self) -> Option<&str> {
        self.revision.as_deref().filter(|revision| is_commit(revision))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}/{}", self.hub.prefix(), self.owner, self.name)?;
        self.revision.as_ref().map_or(Ok(()), |revision| write!(f, "@{revision}"))
    }
}

/// Whether a revision is the whole name of a commit, which never changes.
pub(super) fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && revision.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Why a text cannot be an owner or a name; both become parts of addresses and of folders.
fn unfit(part: &str) -> Option<&'static str> {
    let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if part.is_empty() {
        return Some("which is empty");
    }
    if part.len() > LONGEST {
        return Some("which is longer than hubs allow");
    }
    if !part.chars().all(known) {
        return Some("which has a character other than letters, digits, `-`, `_` and `.`");
    }
    let at_the_ends = part.starts_with(['-', '.']) || part.ends_with(['-', '.']);
    (at_the_ends || part.contains("..") || part.contains("--"))
        .then_some("which begins or ends with `-` or `.`, or has two of them in a row")
}

fn unfit_revision(revision: &str) -> Option<&'static str> {
    let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | '+');
    if revision.is_empty() {
        return Some("is empty");
    }
    if revision.len() > LONGEST_REVISION {
        return Some("is too long");
    }
    if !revision.chars().all(known) {
        return Some("has a character other than letters, digits and `-_.+/`");
    }
    let is_plain = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.ends_with('.');
    (!revision.split('/').all(is_plain)).then_some("has an empty part, or one that begins or ends with a dot")
}

fn shortened(text: &str) -> String {
    let short: String = text.chars().take(100).collect();
    if short.len() < text.len() { short + "…" } else { short }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written() {
        let read = |text: &str, kind| Address::parse(text, kind).unwrap().unwrap();
        let address = read("hf://google/rembert@refs/pr/1", Kind::Model);
        assert_eq!((address.id().as_str(), address.revision_or_branch()), ("google/rembert", "refs/pr/1"));
        assert_eq!(address.to_string(), "hf://google/rembert@refs/pr/1");
        assert_eq!(read("modelscope://damo/x.y_z-1", Kind::Model).revision_or_branch(), "master");
        assert_eq!(read("hf://datasets/facebook/xnli", Kind::Dataset), read("hf://facebook/xnli", Kind::Dataset));
        for path in ["models/rembert", "hf:/a/b", "C:\\models", "", "s3://a/b"] {
            assert_eq!(Address::parse(path, Kind::Model), Ok(None), "{path}");
        }
    }

    #[test]
    fn what_is_no_address_says_why() {
        let wrong = |text: &str| Address::parse(text, Kind::Model).unwrap_err().what;
        for (text, why) in [
            ("hf://", "names no owner"),
            ("hf://rembert", "names no owner"),
            ("hf://google/", "which is empty"),
            ("hf://google/rembert/model.bin", "does not name a whole repository"),
            ("hf://../rembert", "begins or ends with"),
            ("hf://google/rem bert", "a character other than"),
            ("hf://google/rembert@", "a revision that is empty"),
            ("hf://google/rembert@../../x", "begins or ends with a dot"),
            ("hf://google/rembert@a\\b", "a character other than"),
            ("hf://datasets/facebook/xnli", "is a repository of data"),
            ("https://huggingface.co/google/rembert", "is the address of a page"),
        ] {
            assert!(wrong(text).contains(why), "{text}: {}", wrong(text));
        }
    }
}
