//! `retry_on`

use super::{
    decode::Decoder,
    model::{RetryOn, STATUSES},
    source::Spanned,
    tree::Entry,
};

/// `none`, or what is tried again.
pub(super) fn decode(d: &mut Decoder<'_>, entry: &Entry) -> Option<Spanned<RetryOn>> {
    let nodes = d.one_or_more(&entry.value);
    let mut retry_on = RetryOn::NONE;
    for node in nodes {
        let word = d.word(node, "`retry_on`")?;
        match word.as_str() {
            "conn-failure" => retry_on.connection = true,
            "empty-response" => retry_on.empty = true,
            "junk-response" => retry_on.junk = true,
            "response-timeout" => retry_on.timeout = true,
            "all-retryable-errors" => {
                retry_on = RetryOn {
                    connection: true,
                    empty: true,
                    junk: true,
                    timeout: true,
                    statuses: retry_on.statuses,
                };
                for status in [500, 502, 503, 504] {
                    retry_on.add_status(status);
                }
            }
            "none" if nodes.len() == 1 => {}
            "none" => {
                d.error(
                    node.span,
                    "`none` stands beside others",
                    "remove one of them",
                );
                return None;
            }
            "0rtt-rejected" => {
                let mend = "remove it: requests are not sent to servers as early data";
                d.error(node.span, "`0rtt-rejected` has no effect", mend);
                return None;
            }
            other => {
                let status = other.parse().ok();
                if !status.is_some_and(|status| retry_on.add_status(status)) {
                    let statuses = STATUSES.map(|status| status.to_string()).join(", ");
                    d.error(
                        node.span,
                        format!("`retry_on` cannot be `{other}`"),
                        format!("write `none`, `conn-failure`, `empty-response`, `junk-response`, `response-timeout`, `all-retryable-errors` or a status: {statuses}"),
                    );
                    return None;
                }
            }
        }
    }
    if nodes.is_empty() {
        d.error(
            entry.value.span,
            "`retry_on` is an empty list",
            "write `none`, or remove the key",
        );
        return None;
    }
    Some(Spanned::new(retry_on, entry.key_span))
}
