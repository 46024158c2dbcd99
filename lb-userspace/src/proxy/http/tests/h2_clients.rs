//! Clients of HTTP/2 get what those of HTTP/1 get.

use bytes::Bytes;
use h2::client::SendRequest;
use http::{Request, Response};

use super::{
    rules::{Rules, cleaned},
    *,
};
use crate::proxy::http::{
    h2_tests::{all, connect, run},
    h2_websocket_tests::ask_for_websocket,
};

/// The answer to a request without a body.
async fn ask(sender: &mut SendRequest<Bytes>, request: Request<()>) -> (Response<()>, Vec<u8>) {
    let (response, _) = sender.send_request(request, true).unwrap();
    let (head, mut body) = response.await.unwrap().into_parts();
    (Response::from_parts(head, ()), all(&mut body).await)
}

#[test]
fn pages_of_ones_own_stand_for_refusals_in_http_2() {
    let folder = std::env::temp_dir().join(format!("lb-h2-pages-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("400.json"), "{}").unwrap();
    std::fs::write(
        folder.join("502.http"),
        "HTTP/1.0 599 Oops\nContent-Type: text/plain\nX-Page: 1\n\nno tunnel",
    )
    .unwrap();
    let rules = Rules::within(
        folder,
        &[answering(OK)],
        "    errorfiles: { 400: 400.json, 502: 502.http }\n",
        "",
    );
    let address = rules.harness.address;
    run(async {
        let mut sender = connect(address).await;
        for (method, page) in [("GET", &b"{}"[..]), ("HEAD", b"")] {
            let request = Request::builder()
                .method(method)
                .uri("http://a/")
                .header("host", "b");
            let (head, body) = ask(&mut sender, request.body(()).unwrap()).await;
            assert_eq!(head.status(), 400);
            assert_eq!(head.headers()["content-type"], "application/json");
            assert_eq!(head.headers()["content-length"], "2");
            assert_eq!(body, page, "{method}");
        }
        // The server answers as if no other protocol had been asked for.
        let (response, _stream) = ask_for_websocket(address).await;
        assert_eq!(response.status(), 599);
        assert_eq!(response.headers()["x-page"], "1");
        assert_eq!(all(&mut response.into_body()).await, b"no tunnel");
    });
    cleaned(rules);
}
