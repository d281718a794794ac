use super::*;

fn proxies(headers: HeaderKind) -> Proxies {
    let networks = ["127.0.0.1", "10.0.0.0/8", "fd00::/8"];
    Proxies {
        trusted: networks
            .iter()
            .map(|n| Network::parse(n).unwrap())
            .collect(),
        headers,
        user: Some(ProxyUser {
            header: HeaderName::from_static("x-forwarded-user"),
            scopes: Scopes::default(),
            users: BTreeMap::new(),
        }),
    }
}

fn take(proxies: &Proxies, peer: &str, pairs: &[(&'static str, &str)]) -> (Claims, HeaderMap) {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(HeaderName::from_static(name), value.parse().unwrap());
    }
    let claims = proxies.take(&mut headers, peer.parse().unwrap());
    (claims, headers)
}

#[test]
fn a_network_holds_its_own_addresses() {
    for (network, inside, outside) in [
        ("10.0.0.0/8", "10.255.0.1", "11.0.0.1"),
        ("10.1.2.3", "10.1.2.3", "10.1.2.4"),
        ("10.1.2.3", "::ffff:10.1.2.3", "::ffff:10.1.2.4"),
        ("0.0.0.0/0", "1.2.3.4", "::1"),
        ("::/0", "::1", "1.2.3.4"),
        ("fd00::/8", "fd12::1", "fe80::1"),
        ("::1", "::1", "::2"),
    ] {
        let network = Network::parse(network).unwrap();
        assert!(network.contains(inside.parse().unwrap()), "{inside}");
        assert!(!network.contains(outside.parse().unwrap()), "{outside}");
    }
    for bad in [
        "",
        "10.0.0.1/8",
        "10.0.0.0/33",
        "10.0.0.0/+8",
        "10.0.0.0/",
        "proxy.example",
        "::1/129",
    ] {
        assert_eq!(Network::parse(bad), None, "{bad}");
    }
}

#[test]
fn what_a_stranger_says_is_taken_out_and_not_believed() {
    let pairs = [
        ("x-forwarded-for", "1.1.1.1"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "pm.example"),
        ("x-forwarded-prefix", "/pm"),
        ("forwarded", "for=1.1.1.1"),
        ("x-real-ip", "1.1.1.1"),
        ("x-forwarded-user", "root"),
        ("host", "a"),
    ];
    for peer in ["11.0.0.1", "::ffff:11.0.0.1", "fe80::1"] {
        let (claims, headers) = take(&proxies(HeaderKind::XForwarded), peer, &pairs);
        assert_eq!(claims, Claims::default());
        assert_eq!(headers.keys().collect::<Vec<_>>(), ["host"]);
    }
    let (claims, headers) = take(&proxies(HeaderKind::XForwarded), "::ffff:10.0.0.1", &pairs);
    assert_eq!(claims.address.unwrap().to_string(), "1.1.1.1:0");
    assert_eq!(claims.is_tls, Some(true));
    assert_eq!(claims.host.unwrap(), "pm.example");
    assert_eq!(claims.prefix.as_deref(), Some("/pm"));
    assert_eq!(claims.user, ProxyUserClaim::User("root".to_owned()));
    assert_eq!(headers.keys().collect::<Vec<_>>(), ["host"]);
}

#[test]
fn of_a_chain_only_what_trusted_proxies_added_counts() {
    for (chain, client) in [
        (&["8.8.8.8"][..], Some("8.8.8.8:0")),
        (&["6.6.6.6, 8.8.8.8"], Some("8.8.8.8:0")),
        (&["6.6.6.6, 8.8.8.8, 10.0.0.2"], Some("8.8.8.8:0")),
        (&["6.6.6.6", "8.8.8.8"], Some("8.8.8.8:0")),
        (&["10.0.0.3, 10.0.0.2"], Some("10.0.0.3:0")),
        (&["6.6.6.6, junk, 10.0.0.2"], Some("10.0.0.2:0")),
        (&["junk"], None),
        (&[""], None),
        (&["8.8.8.8:4711"], Some("8.8.8.8:4711")),
        (&["[2001:db8::1]:4711"], Some("[2001:db8::1]:4711")),
        (&["2001:db8::1"], Some("[2001:db8::1]:0")),
    ] {
        let pairs: Vec<_> = chain.iter().map(|c| ("x-forwarded-for", *c)).collect();
        let (claims, _) = take(&proxies(HeaderKind::XForwarded), "127.0.0.1", &pairs);
        let found = claims.address.map(|address| address.to_string());
        assert_eq!(found.as_deref(), client, "{chain:?}");
    }
}

#[test]
fn forwarded_is_read_as_its_rfc_says_and_the_other_kind_is_not() {
    let said =
        "for=6.6.6.6;host=evil, For=\"[2001:db8::1]:4711\";proto=HTTPS;host=\"pm.example:8443\"";
    let pairs = [("forwarded", said), ("x-forwarded-for", "9.9.9.9")];
    let (claims, _) = take(&proxies(HeaderKind::Forwarded), "127.0.0.1", &pairs);
    assert_eq!(claims.address.unwrap().to_string(), "[2001:db8::1]:4711");
    assert_eq!(claims.is_tls, Some(true));
    assert_eq!(claims.host.unwrap(), "pm.example:8443");
    let (claims, _) = take(&proxies(HeaderKind::XForwarded), "127.0.0.1", &pairs);
    assert_eq!(claims.address.unwrap().to_string(), "9.9.9.9:0");
    assert_eq!((claims.is_tls, claims.host), (None, None));
    for hidden in ["for=_hidden", "for=unknown", "proto=https", "for=\"a,b\""] {
        let pairs = [("forwarded", hidden)];
        let (claims, _) = take(&proxies(HeaderKind::Forwarded), "127.0.0.1", &pairs);
        assert_eq!(claims.address, None, "{hidden}");
    }
}

#[test]
fn a_user_is_one_name_in_one_header() {
    use ProxyUserClaim::{Nothing, Unclear, User};
    for (values, said) in [
        (vec![], Nothing),
        (vec![""], Nothing),
        (vec![" alice "], User("alice".to_owned())),
        (vec!["alice", "root"], Unclear),
        (vec!["ü"], Unclear),
    ] {
        let pairs: Vec<_> = values.iter().map(|v| ("x-forwarded-user", *v)).collect();
        let (claims, _) = take(&proxies(HeaderKind::XForwarded), "127.0.0.1", &pairs);
        assert_eq!(claims.user, said, "{values:?}");
    }
    let long = "x".repeat(300);
    let pairs = [("x-forwarded-user", long.as_str())];
    let (claims, _) = take(&proxies(HeaderKind::XForwarded), "127.0.0.1", &pairs);
    assert_eq!(claims.user, Unclear);
}

#[test]
fn a_prefix_is_a_path_and_nothing_else() {
    for (text, prefix) in [
        ("", Some("")),
        ("/", Some("")),
        ("/pm", Some("/pm")),
        ("/a/b-1.x/", Some("/a/b-1.x")),
        ("pm", None),
        ("//evil.example", None),
        ("/a//b", None),
        ("/a/../b", None),
        ("/a b", None),
        ("/a\"><script>", None),
        ("https://evil.example", None),
    ] {
        assert_eq!(path_prefix(text).as_deref(), prefix, "{text}");
    }
}
