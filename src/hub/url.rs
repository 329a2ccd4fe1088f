//! Parts of addresses of the web: what a request and a redirect need of them.

use ureq::http::Uri;

/// Which server an address means: scheme, host in small letters, port.
pub(super) fn origin(uri: &Uri) -> Option<(String, String, u16)> {
    let scheme = uri.scheme_str()?.to_ascii_lowercase();
    let port = uri.port_u16().unwrap_or(if scheme == "https" { 443 } else { 80 });
    Some((scheme, uri.host()?.to_ascii_lowercase(), port))
}

/// Whether it is this machine, whose network nobody listens to.
pub(super) fn is_loopback(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Where a redirect leads from `base`; nothing where that is no address of the web.
pub(super) fn follow(base: &Uri, location: &str) -> Option<Uri> {
    let (scheme, authority) = (base.scheme_str()?, base.authority()?);
    let whole = if location.contains("://") {
        location.to_string()
    } else if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{location}")
    } else {
        let folder = base.path().rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("{scheme}://{authority}{folder}/{location}")
    };
    // What stands behind # is not sent.
    let uri: Uri = whole.split('#').next()?.parse().ok()?;
    let is_of_the_web = matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some();
    is_of_the_web.then_some(uri)
}

/// Text as a part of an address: all but letters, digits, `-._~` and the characters in `kept` as bytes in hexadecimal.
pub(super) fn encoded(text: &str, kept: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        let c = char::from(byte);
        match c.is_ascii_alphanumeric() || "-._~".contains(c) || kept.contains(c) {
            true => out.push(c),
            false => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_are_read_as_browsers_do() {
        let base: Uri = "https://hub.org/a/b?c=d".parse().unwrap();
        let to = |location: &str| follow(&base, location).map(|uri| uri.to_string());
        assert_eq!(to("https://cdn.org/x?y=z#f").unwrap(), "https://cdn.org/x?y=z");
        assert_eq!(to("//cdn.org/x").unwrap(), "https://cdn.org/x");
        assert_eq!(to("/x").unwrap(), "https://hub.org/x");
        assert_eq!(to("x").unwrap(), "https://hub.org/a/x");
        for nothing in ["file:///etc/passwd", "ftp://x/y", "http://", "https://a b/"] {
            assert_eq!(to(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn names_are_encoded() {
        assert_eq!(encoded("a b/ü#?.txt", "/"), "a%20b/%C3%BC%23%3F.txt");
        assert_eq!(encoded("refs/pr/1", ""), "refs%2Fpr%2F1");
    }

    #[test]
    fn this_machine_is_known_by_all_its_names() {
        let is = |text: &str| is_loopback(&text.parse().unwrap());
        assert!(is("http://localhost:1/") && is("http://127.0.0.2/") && is("http://[::1]:8/"));
        assert!(!is("http://localhost.example/") && !is("http://10.0.0.1/"));
    }
}
