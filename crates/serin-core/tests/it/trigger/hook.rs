use serin_core::trigger::hook::{Hook, HookError, HookSecret, read};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// GitHub's own example of a signature, from its page "Validating webhook deliveries".
const EXAMPLE_SECRET: &str = "It's a Secret to Everybody";
const EXAMPLE_SIGNATURE: &str = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

fn call(headers: &[(&str, &str)], body: &[u8], secret: &str) -> Result<Hook, HookError> {
    let header = |name: &str| {
        headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
    };
    read(header, body, &HookSecret::new(secret).unwrap())
}

/// The body of a push, and how GitHub signs it with `0123456789abcdef`.
fn github(event: &str, body: &str) -> Result<Hook, HookError> {
    use hmac::{Hmac, KeyInit as _, Mac as _};
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(b"0123456789abcdef").unwrap();
    mac.update(body.as_bytes());
    let signature: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let signature = format!("sha256={signature}");
    let headers = [
        ("x-hub-signature-256", signature.as_str()),
        ("x-github-event", event),
        ("x-github-delivery", "72d3162e"),
    ];
    call(&headers, body.as_bytes(), "0123456789abcdef")
}

fn push(reference: &str, after: &str) -> String {
    serde_json::json!({
        "ref": reference, "before": "0".repeat(40), "after": after,
        "repository": {"full_name": "team/model", "private": true}, "commits": [{"id": after}],
    })
    .to_string()
}

#[test]
fn the_published_example_is_genuine_and_nothing_near_it_is() {
    let signed = |signature: &str, body: &str| {
        call(
            &[("X-Hub-Signature-256", signature), ("X-GitHub-Event", "ping")],
            body.as_bytes(),
            EXAMPLE_SECRET,
        )
    };
    assert_eq!(signed(EXAMPLE_SIGNATURE, "Hello, World!"), Ok(Hook::Nothing { event: "ping".into() }));
    for (signature, body) in [
        (EXAMPLE_SIGNATURE, "Hello, World"),
        (&EXAMPLE_SIGNATURE.replace("757", "756"), "Hello, World!"),
        (&EXAMPLE_SIGNATURE.replace("sha256=", ""), "Hello, World!"),
        (&EXAMPLE_SIGNATURE.replace("sha256", "sha1"), "Hello, World!"),
        ("sha256=", "Hello, World!"),
        ("", "Hello, World!"),
        ("sha256=é", "Hello, World!"),
    ] {
        assert_eq!(signed(signature, body), Err(HookError::Forged), "{signature}");
    }
    assert_eq!(call(&[("X-GitHub-Event", "ping")], b"{}", EXAMPLE_SECRET), Err(HookError::Unsigned));
}

#[test]
fn a_push_names_repository_branch_and_commit() {
    let Ok(Hook::Push(told)) = github("push", &push("refs/heads/feature/x", COMMIT)) else {
        panic!("no push")
    };
    assert_eq!((told.repository.as_str(), told.branch.as_str()), ("team/model", "feature/x"));
    assert_eq!((told.commit.as_str(), told.delivery.as_deref()), (COMMIT, Some("72d3162e")));
    for (event, body, nothing) in [
        ("ping", "{}".to_owned(), "ping"),
        ("issues", "not even JSON".to_owned(), "issues"),
        ("push", push("refs/tags/v1", COMMIT), "refs/tags/v1"),
        ("push", push("refs/heads/main", &"0".repeat(40)), "a deleted branch"),
    ] {
        assert_eq!(github(event, &body), Ok(Hook::Nothing { event: nothing.into() }), "{event}");
    }
    for body in [
        "",
        "[]",
        "{}",
        &push("refs/heads/main", "HEAD"),
        &push("refs/heads/main", ""),
        &push("refs/heads/-x", COMMIT),
        &push("refs/heads/a b", COMMIT),
        &push("refs/heads/main", COMMIT).replace("full_name", "name"),
    ] {
        let refused = github("push", body);
        assert!(matches!(refused, Err(HookError::Body { .. })), "{body}: {refused:?}");
    }
}

#[test]
fn gitlab_sends_its_token() {
    let body = serde_json::json!({
        "ref": "refs/heads/main", "after": COMMIT, "project": {"path_with_namespace": "team/model"},
        "repository": {"name": "model"},
    });
    let signed = |token: &str| {
        let headers =
            [("X-Gitlab-Token", token), ("X-Gitlab-Event", "Push Hook"), ("X-Gitlab-Event-UUID", "13792a34")];
        call(&headers, body.to_string().as_bytes(), "a token of ours!")
    };
    assert!(
        matches!(signed("a token of ours!"), Ok(Hook::Push(push)) if push.delivery.as_deref() == Some("13792a34"))
    );
    for token in ["", "a token of ours", "a token of ours! ", "A token of ours!"] {
        assert_eq!(signed(token), Err(HookError::Forged), "{token:?}");
    }
}

#[test]
fn large_bodies_and_weak_secrets_are_refused() {
    let body = vec![b' '; (5 << 20) + 1];
    assert_eq!(call(&[], &body, EXAMPLE_SECRET), Err(HookError::TooLarge));
    assert_eq!(HookSecret::new("short").err(), Some(HookError::WeakSecret));
    assert_eq!(format!("{:?}", HookSecret::new(EXAMPLE_SECRET).unwrap()), "HookSecret");
}
