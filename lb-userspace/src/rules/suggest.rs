//! "Did you mean": the nearest of a set of names.

/// The candidate nearest to `written`, if it is near enough to be a slip.
pub fn nearest<'a>(
    written: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let normal = |text: &str| text.to_ascii_lowercase().replace(['-', ' ', '.'], "_");
    let wanted: Vec<char> = normal(written).chars().take(64).collect();
    let allowed = (wanted.len() / 3).clamp(1, 3);
    candidates
        .into_iter()
        .map(|candidate| {
            let other: Vec<char> = normal(candidate).chars().collect();
            let other = &other[..other.len().min(64)];
            // A whole word left out or added is a slip too: `timeout` for `timeouts`, `check` for `health_check`.
            let contained = wanted.len() >= 4
                && other.len() >= 4
                && (other.ends_with(&wanted) || wanted.ends_with(other));
            (
                if contained {
                    distance(&wanted, other).min(allowed)
                } else {
                    distance(&wanted, other)
                },
                candidate,
            )
        })
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Insertions, deletions, substitutions and swaps of neighbours (optimal string alignment).
fn distance(a: &[char], b: &[char]) -> usize {
    let mut rows = vec![(0..=b.len()).collect::<Vec<_>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let cost = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (rows[i - 1][j] + 1)
                .min(row[j - 1] + 1)
                .min(rows[i - 1][j - 1] + cost);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_slips_and_nothing_else() {
        let keys = [
            "maxconn",
            "default_backend",
            "timeouts",
            "health_check",
            "bind",
            "mode",
            "user",
        ];
        assert_eq!(nearest("maxcon", keys), Some("maxconn"));
        assert_eq!(nearest("default-backend", keys), Some("default_backend"));
        assert_eq!(nearest("timeout", keys), Some("timeouts"));
        assert_eq!(nearest("check", keys), Some("health_check"));
        assert_eq!(nearest("bnid", keys), Some("bind"));
        assert_eq!(nearest("Mode", keys), Some("mode"));
        assert_eq!(nearest("compression", keys), None);
        assert_eq!(nearest("", keys), None);
    }
}
