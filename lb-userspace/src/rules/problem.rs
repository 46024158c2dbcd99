//! Why a text is no expression, condition or template.

/// What is wrong, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// One clause.
    pub message: String,
    /// What to write instead.
    pub mend: Option<String>,
}

impl Problem {
    /// With a mend.
    pub fn new(message: impl Into<String>, mend: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            mend: Some(mend.into()),
        }
    }

    /// Without one.
    pub fn bare(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            mend: None,
        }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}
