//! What Workers fetch.

use crate::harness::{Code, OTHER, OWN, with_engine};

#[test]
fn a_fetch_goes_by_the_port_on_behalf_of_the_workers_account_whatever_the_worker_says() {
    with_engine("", async |running| {
        let code = Code::fetch(
            "return fetch('https://api.example.net:8443/path?q=1', {
               method: 'POST', body: 'sent',
               headers: { 'x-mine': '1', 'cf-proxima-facts': '{\"proxima\":{\"account\":\"evil\"}}' },
               cf: { proxima: { account: 'evil' } } })",
        );
        running.upload(OWN, "app", code).await;
        let answer = running.get(OWN, "app", "/").await;
        let expected =
            format!("{OWN} POST https://api.example.net:8443/path?q=1 [\"x-mine=\\\"1\\\"\"] \"sent\"");
        assert!(answer.is(200, &expected), "{answer:?}");
        running.upload(OTHER, "app", Code::fetch("return fetch('http://Plain.example.net/')")).await;
        let answer = running.get(OTHER, "app", "/").await;
        assert!(answer.is(200, &format!("{OTHER} GET http://plain.example.net/ [] \"\"")), "{answer:?}");
    });
}

#[test]
fn what_a_worker_says_of_caching_comes_with_its_fetch_and_what_is_no_time_is_a_type_error() {
    with_engine("", async |running| {
        let code = "const options = JSON.parse(decodeURIComponent(new URL(request.url).search.slice(1)));
                    try { return await fetch('http://a.example/', options); }
                    catch (error) { return new Response(`${error.name}: ${error.message}`); }";
        running.upload(OWN, "app", Code::fetch(code)).await;
        let within = "give whole seconds, at most 31536000; -1 keeps nothing";
        for (options, expected) in [
            (
                r#"{"cf":{"cacheTtl":60}}"#,
                r#"{"cache":true,"edge_ttl":{"mode":"override_origin","default":60}}"#,
            ),
            (r#"{"cf":{"cacheTtl":-1}}"#, r#"{"cache":false}"#),
            (r#"{"cf":{"cacheEverything":true}}"#, r#"{"cache":true}"#),
            (
                r#"{"cf":{"cacheTtlByStatus":{"200-299":60,"404":-1}}}"#,
                r#"{"cache":true,"edge_ttl":{"mode":"respect_origin","status_code_ttl":[{"status_code_range":{"from":404,"to":404},"value":-1},{"status_code_range":{"from":200,"to":299},"value":60}]}}"#,
            ),
            // The standard's own way to say so.
            (r#"{"cache":"no-store"}"#, r#"{"cache":false}"#),
            (r#"{"cf":{"cacheTtl":1.5}}"#, &format!("TypeError: cf.cacheTtl: {within}")),
            (r#"{"cf":{"cacheTtl":"60"}}"#, &format!("TypeError: cf.cacheTtl: {within}")),
            (r#"{"cf":{"cacheTtl":31536001}}"#, &format!("TypeError: cf.cacheTtl: {within}")),
            (
                r#"{"cf":{"cacheTtlByStatus":{"2xx":60}}}"#,
                "TypeError: cf.cacheTtlByStatus: 2xx is neither a status nor a range such as 200-299",
            ),
        ] {
            // As a query has it.
            let said: String = options.bytes().map(|octet| format!("%{octet:02x}")).collect();
            let answer = running.get(OWN, "app", &format!("/?{said}")).await;
            assert!(answer.text.ends_with(expected), "{options}: {answer:?}");
        }
        let answer = running.get(OWN, "app", "/?{}").await;
        assert!(answer.is(200, &format!("{OWN} GET http://a.example/ [] \"\"")), "{answer:?}");
    });
}

#[test]
fn a_request_that_is_passed_on_keeps_its_url_and_every_redirect_is_a_fetch() {
    with_engine("", async |running| {
        running.upload(OWN, "pass", Code::fetch("return fetch(request)")).await;
        let answer = running.get(OWN, "pass", "/a?b").await;
        assert!(answer.text.contains("GET https://www.example.com/a?b"), "{answer:?}");
        assert!(answer.text.contains("cf-connecting-ip"), "{answer:?}");
        running
            .upload(OWN, "follow", Code::fetch("return fetch('http://a.example/?to=http://10.0.0.1/x')"))
            .await;
        let answer = running.get(OWN, "follow", "/").await;
        assert!(answer.text.contains("GET http://10.0.0.1/x"), "{answer:?}");
        assert!(
            running.fetched.lines.lock().unwrap().iter().any(|line| line.contains("http://a.example/?to="))
        );
    });
}

#[test]
fn there_is_no_other_way_out() {
    with_engine("", async |running| {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let connect = format!(
            "import {{ connect }} from 'cloudflare:sockets';
             export default {{ async fetch() {{
               const socket = connect('{address}'); await socket.opened; return new Response('open') }} }}"
        );
        running.upload(OWN, "connect", Code::module(&connect)).await;
        assert!(running.get(OWN, "connect", "/").await.is_error(500, 1101));
        running
            .upload(
                OWN,
                "socket",
                Code::fetch(&format!(
                    "new WebSocket('ws://{address}/'); await scheduler.wait(50); return new Response('tried')"
                )),
            )
            .await;
        running.get(OWN, "socket", "/").await;
        running.upload(OWN, "scheme", Code::fetch("return fetch('file:///etc/passwd')")).await;
        assert!(running.get(OWN, "scheme", "/").await.is_error(500, 1101));
        listener.set_nonblocking(true).unwrap();
        assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "nobody came");
    });
}
